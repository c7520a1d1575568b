"""How a bundle comes from its operator to a device's disk, whatever server carries it: signed by TUF, by ranges of HTTP."""
