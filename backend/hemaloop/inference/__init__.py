"""Models in processes of their own: a child can load torch, stall or crash, and the web process never notices.

`schedule` decides what is predicted next, `child` is one process as its owner sees it, `__main__` is that process.
"""
