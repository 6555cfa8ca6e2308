"""The schemas that releases had, each as what leads to it from the one before."""
