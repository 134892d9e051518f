"""The compiled kernels of the fast engine: C++ sources, how to compile them, and the libraries made of them."""
