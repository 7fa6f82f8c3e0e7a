package components

import "slices"

// Artifacts are the references of a Set that was obtained: what a provider makes machines of.
type Artifacts struct {
	// Rootfs is the node image unpacked: overlay lower directories, the topmost first.
	Rootfs []string `json:"rootfs"`
	// Node is the same node image, packed.
	Node NodeImage `json:"node"`
	// Store is a containerd root directory with every image of the set imported and
	// unpacked. It is immutable: Nodes see it read-only.
	Store string `json:"store"`
	// Images are the references that Store holds.
	Images []string `json:"images"`
	// Layouts are the OCI layout directories of Images, by reference.
	Layouts map[string]string `json:"layouts,omitempty"`
	// Copies are the files that Install names, by "component/name".
	Copies map[string]string `json:"copies,omitempty"`
	// Programs are host-side executables by name: runc, containerd, ctr, kubectl, kubeadm. With
	// an upstream's node image there are those that its Upstream names.
	Programs map[string]string `json:"programs"`
	// Caches are directories of the cache that Nodes read, by their path in the Node; what new labs
	// compute is added to them.
	Caches map[string]string `json:"caches,omitempty"`
	// Disk is what virtual machines start from, where the plan has any.
	Disk Disk `json:"disk,omitzero"`
	// Hosts are the services of each outside host, by its name.
	Hosts map[string][]HostService `json:"hosts,omitempty"`
	// DebianBase is the Debian base unpacked, where the node image is not laid over it.
	DebianBase string `json:"debianBase,omitempty"`
	// Self is the netlab executable, at a path that stays when the user replaces netlab.
	Self string `json:"self"`
	// Agent is the reference of the verification agent's image.
	Agent string `json:"agent"`
	// Versions are those of the set's components, by name, and Ingredients all that came from a
	// source.
	Versions    map[string]string `json:"versions,omitempty"`
	Ingredients []Ingredient      `json:"ingredients,omitempty"`
	// Lacking is, by reference, why an optional image is not among Images.
	Lacking map[string]string `json:"lacking,omitempty"`
}

// NodeImage is the node image as an OCI image, for providers that run Nodes as containers.
type NodeImage struct {
	// Ref is its name with a tag that is derived from its content: equal names mean equal
	// images.
	Ref    string `json:"ref"`
	Layout string `json:"layout"` // OCI layout directory
	// Over is the upstream's image that it is laid over, as name:tag@digest; "" for none.
	Over string `json:"over,omitempty"`
}

// Disk is what a virtual machine starts from.
type Disk struct {
	Kernel string `json:"kernel"`
	Initrd string `json:"initrd"` // leads from the kernel to Root, where it starts `netlab guest`
	// Root is an ext4 file system without partitions: the node image, the kernel's modules,
	// a containerd root with the store's images, netlab itself. It has no free space.
	Root string `json:"root"`
	// Image is the cloud image that machines boot instead of Kernel, Initrd and Root; Root is
	// then a second disk. "" for none.
	Image string `json:"image,omitempty"`
}

// Debian is the root of a whole Debian file system, that of the Debian base, which is the
// lowest layer of the node image that is built. It is "" where nothing is unpacked.
func (a Artifacts) Debian() string {
	if a.DebianBase != "" || len(a.Rootfs) == 0 {
		return a.DebianBase
	}
	return a.Rootfs[len(a.Rootfs)-1]
}

// Lacks returns why an image is not among the artifacts, "" if it is.
func (a Artifacts) Lacks(ref string) string {
	switch why := a.Lacking[ref]; {
	case slices.Contains(a.Images, ref):
		return ""
	case why != "":
		return why
	}
	return ref + " was not asked for yet"
}

// Step starts a named, timed step of progress; the caller finishes it with its error. Steps may
// overlap; it is called from several goroutines.
type Step func(name string) (done func(error))
