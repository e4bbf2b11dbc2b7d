"""The red-green kernel: the gate round one working tree, the runners it believes, and the tools an agent gets."""
