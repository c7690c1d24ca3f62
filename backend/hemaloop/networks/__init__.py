"""What model families on torch have in common. Families import it; the backend does not, so that it stays light.

arithmetic   where and how precisely a network computes       artifact   a network and its description on disk
weights      files of weights that a training may start from   pictures   images as a family is given them
frame        what a family derives from, without torch
compiler     torch's, left out until something needs it
"""

from hemaloop.networks import compiler

compiler.leave_out()
