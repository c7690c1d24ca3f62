"""Families of a representation and a head (`plugin.Representing`): slow seldom, quick after a few clicks.

pool of images ─▶ learning.py    representation learned from all images       queue train, seldom
                  vectors.py     kept by project, control, representation     queue score, in shards
annotations    ─▶ refitting.py   a head, judged on the gate, versioned        queue refit, a process of its own
                  reordering.py  the pool rescored from vectors, and pushed   in the same job
"""
