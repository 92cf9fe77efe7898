//! File formats, manifests, lineage, signatures, the checkpoint store, fetching models.
