"""The operator's side of a fleet: who is out there, what each is to do, and how fast."""
