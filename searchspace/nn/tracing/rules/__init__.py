"""How each kind of call becomes layers of a Graph: one function a kind, (builder, call) -> None."""
