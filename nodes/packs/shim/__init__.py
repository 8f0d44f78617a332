"""Stand-ins for the modules that packs import. None is in `sys.modules` under a name of ours."""
