//! Pods as a kubelet and a container runtime leave them on the node: folders, links, namespaces.
//! Each file follows one source; what they say together is [`super::roster`].

pub mod cni;
pub mod home;
pub mod layout;
pub mod links;
pub mod root;
pub mod tree;
