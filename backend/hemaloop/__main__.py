"""`python -m hemaloop`, the same as `hemaloop`."""

from hemaloop.cli import main

if __name__ == "__main__":
    main()
