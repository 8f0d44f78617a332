import easy_nodes
easy_nodes.initialize_easy_nodes(default_category="Example", auto_register=False)
from .nodes import *
NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS = easy_nodes.get_node_mappings()
