"""Node packs: what people wrote for ComfyUI, and typed functions in folders of their own."""
