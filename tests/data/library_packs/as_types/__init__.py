import yors_comfyui_node_as_x_type as given
NODE_CLASS_MAPPINGS = {name: cls for name, cls in vars(given).items() if name.startswith("NodeSetItAs")}
