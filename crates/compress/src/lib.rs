//! Artifact to smaller artifact, with a measured quality report.
