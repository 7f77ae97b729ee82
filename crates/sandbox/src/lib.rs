//! A cluster on a laptop: the embedded API server, a kubelet that plays projections and runs pods, no privileges.

pub mod pod_map;
