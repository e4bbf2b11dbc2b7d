"""With llama.cpp's own server: `make test-llama` builds it once. Elsewhere each of these is skipped, and says why."""
