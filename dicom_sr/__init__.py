"""DICOM results as pure functions: (source data set, finding, model identity) to data sets."""
