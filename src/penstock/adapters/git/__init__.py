"""Git: the user's repository, our store of objects beside it, and working trees of ours.

`repository` looks at the user's repository, `store` is ours, `trunk` lands, `candidates` forms what is verified,
`workspaces` opens and takes over working trees. All of them speak to git through `commands`.
"""
