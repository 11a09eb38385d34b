collect_ignore = ["plugins-0.1"]  # test_plugins.py runs them, in a process of their own
