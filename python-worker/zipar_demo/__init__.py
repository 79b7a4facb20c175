"""Makes the demo checkpoint: draws pictures, trains three small networks on them, exports."""
