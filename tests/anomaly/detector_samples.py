"""An untrained detector with one exit behind the first layer."""

from pathlib import Path

import numpy as np

from offramp.anomaly.anomaly_policy import AnomalyPolicy, Band, ScoreScale
from offramp.anomaly.autoencoder import INPUT_SHAPE, build_autoencoder
from offramp.anomaly.detector_export import export_detector
from offramp.anomaly.detector_manifest import DetectorManifest

UNIT = ScoreScale(0.0, 1.0)
POLICY = AnomalyPolicy((UNIT, UNIT), (Band(-0.1, 0.1),), 0.0)
MANIFEST = DetectorManifest("toy", INPUT_SHAPE, 0.5, 0.25, POLICY, (88_064, 270_336))


def write_toy_detector(path: Path) -> Path:
    checks = np.random.default_rng(0).normal(size=(5, *INPUT_SHAPE)).astype(np.float32)
    assert export_detector(build_autoencoder((1,), seed=0), MANIFEST, path, checks) < 1e-4
    return path
