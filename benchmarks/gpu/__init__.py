"""The benchmark of a GPU: Llama-2's shape with random weights, Jeton beside its peers. Without a GPU a small shape."""
