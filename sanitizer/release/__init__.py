"""Signed, immutable releases, and the gate that lets training read them and nothing else.

Import from the modules: `publish` and `parts` need Arrow and the state, `gate` needs almost nothing.
"""
