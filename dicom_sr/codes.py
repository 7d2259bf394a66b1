"""The coded concepts of our reports, under the standard's names (DICOM PS3.16)."""

from __future__ import annotations

from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99SECONDREAD"

# The document (TID 1500)
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
LANGUAGE_EN_US = Code("en-US", "RFC5646", "English (United States)")
DEVICE = Code("121007", "DCM", "Device")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
ULTRASONOGRAPHY_OF_BREAST = Code("47079000", "SCT", "Ultrasonography of breast")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")

# The image library (TID 1600)
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
SOURCE = Code("260753009", "SCT", "Source")
MODALITY = Code("121139", "DCM", "Modality")
ULTRASOUND = Code("US", "DCM", "Ultrasound")
PIXEL_DATA_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
PIXELS = Code("{pixels}", "UCUM", "Pixels")

# Measurement groups (TID 1410)
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
FINDING = Code("121071", "DCM", "Finding")
GRADIENT_WEIGHTED_CLASS_ACTIVATION = Code("130403", "DCM", "Gradient-weighted class activation")
IMAGE_REGION = Code("111030", "DCM", "Image Region")
BREAST = Code("76752008", "SCT", "Breast")
LATERALITY = {
    "L": Code("7771000", "SCT", "Left"),
    "R": Code("24028007", "SCT", "Right"),
    "B": Code("51440002", "SCT", "Bilateral"),
}

# The score
PROBABILITY_OF_CANCER = Code("111047", "DCM", "Probability of cancer")
PROBABILITY_OF_BENIGN = Code("SR001", PRIVATE_SCHEME, "Probability of benign")
THRESHOLD = Code("SR002", PRIVATE_SCHEME, "Threshold")
PERCENT = Code("%", "UCUM", "Percent")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
ASSESSMENT_CATEGORY = Code("111005", "DCM", "Assessment Category")
MALIGNANT = Code("21594007", "SCT", "Malignant")
BENIGN = Code("30807003", "SCT", "Benign")

# The summary
PROCESSING_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
SUCCEEDED_WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")
SUCCEEDED_WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")
NOT_SUCCEEDED = Code("111245", "DCM", "No algorithms succeeded; without findings")
COMMENT = Code("121106", "DCM", "Comment")

# Purposes of reference
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")

# Segmentations
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
SEGMENTATION = Code("113076", "DCM", "Segmentation")

# Key objects and rejection notes (TID 2010, TID 1002, TID 1004)
OF_INTEREST = Code("113000", "DCM", "Of Interest")
REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
REJECTED_FOR_PATIENT_SAFETY = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE_OBSERVER_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_OBSERVER_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_OBSERVER_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_OBSERVER_MODEL_NAME = Code("121015", "DCM", "Device Observer Model Name")

# The parts of templates (TID 1204, 4019, 4108, 300 of PS3.16)
LANGUAGE_OF_CONTENT = Code("121049", "DCM", "Language of Content Item and Descendants")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UNIQUE_IDENTIFIER = Code("112040", "DCM", "Tracking Unique Identifier")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
LATERALITY_OF_SITE = Code("272741003", "SCT", "Laterality")
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")

# The summary of a study of which not every image was analysed
PARTLY_SUCCEEDED_WITHOUT_FINDINGS = Code(
    "111243", "DCM", "Not all algorithms succeeded; without findings"
)
PARTLY_SUCCEEDED_WITH_FINDINGS = Code(
    "111244", "DCM", "Not all algorithms succeeded; with findings"
)
