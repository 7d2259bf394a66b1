"""From a hospital's images and its clinical table to a folder to train on, as in the paper."""
