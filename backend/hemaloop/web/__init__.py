"""The HTTP surface that Label Studio 1.23.2 talks to; one thin module for each thing it asks."""
