"""The parts of the benchmark, each a module whose ``sections(setting)`` yields its tables."""

#: Parts of the benchmark, the names of the modules here, in this order.
PARTS = ('scan', 'mixer', 'model', 'membrane', 'growth', 'vmamba', 'peers')
