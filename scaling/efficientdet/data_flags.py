"""What the commands say about their flags for data."""

DATA_HELP = (
    "images with boxes: a folder or archive in the form of COCO (instances*.json), Pascal VOC (Annotations/*.xml) or "
    "YOLO (data.yaml, labels/*.txt); digits or digits:N are scenes of handwritten digits, made here (default)"
)
DETECTOR_HELP = "the folder that train wrote"
