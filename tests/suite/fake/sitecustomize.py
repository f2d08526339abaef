"""Put on PYTHONPATH by the tests: registers the fake family in the command and in its children, without torch."""

import fake_family

fake_family.install()
