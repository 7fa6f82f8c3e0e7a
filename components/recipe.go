package components

// Build makes executables from a Go module, in a separate module, so that the dependencies of
// components stay apart; or it only keeps Copies of files.
type Build struct {
	Name     string   `json:"name"`
	Seconds  int      `json:"seconds"` // cold, on two cores: the longest starts first
	Module   string   `json:"module"`  // none: our own source alone
	Version  string   `json:"version"` // of Module; default: the component's
	Requires Requires `json:"requires"`
	// Replaces are module → "module version", or "./dir" of Own; that directory's go.mod
	// is made, for a module inside a module could not be part of the executable.
	Replaces map[string]string `json:"replaces"`
	// Edits change files of Module, by their path in it: a copy of the module is built.
	Edits map[string][]Edit `json:"edits,omitempty"`
	// Inside builds in the module's own directory, with its own go.mod and go.sum.
	Inside   bool              `json:"inside"`
	Own      string            `json:"own"`      // directory of the component with our main, copied next to go.mod
	Packages map[string]string `json:"packages"` // output → package
	Links    map[string]string `json:"links"`    // further name → output, for programs that depend on the name they are called by
	Copies   map[string]string `json:"copies"`   // name → path in the module, kept as it is: charts and the like
	CGO      bool              `json:"cgo"`
	Tags     []string          `json:"tags"`
	LDFlags  string            `json:"ldflags"` // see Component.Expanded
	// Held is an image that has the outputs of Packages ready-made. The build's key does not
	// include it: whichever way they came, the outputs are used alike.
	Held *Held `json:"held,omitempty"`
}

// Held is an image of a registry whose files are used in place of a build's outputs.
type Held struct {
	Name string `json:"name"`
	Tag  string `json:"tag"`
	Path string `json:"path"` // the directory with the outputs
}

// Requires are further modules that a build requires, by version (see Component.Expanded). What
// a version.yaml lists is added to what component.yaml lists.
type Requires map[string][]string

// Layer is one file-system layer that several images share.
type Layer struct {
	Name     string  `json:"name"`
	Seconds  int     `json:"seconds"` // as in Build
	Debian   *Debian `json:"debian"`
	Contents `json:",inline"`
}

// Debian is a file system made of Debian packages.
type Debian struct {
	Suite    string   `json:"suite"`
	Over     string   `json:"over"` // "component/layer" to install into; none: a new root
	Packages []string `json:"packages"`
	Exclude  []string `json:"exclude"` // path patterns of dpkg's path-exclude
}

// Contents are files put into a layer.
type Contents struct {
	Dirs  []Dir             `json:"dirs"`
	Files []File            `json:"files"`
	Links map[string]string `json:"links"` // path → target
}

// Dir is a directory; parents are made as needed.
type Dir struct {
	Path string `json:"path"`
	Mode int64  `json:"mode"` // default: 0755
	UID  int    `json:"uid"`
}

// File is a file or a tree, from one of five places.
type File struct {
	To    string `json:"to"`
	Build string `json:"build"` // "component/output"
	Copy  string `json:"copy"`  // "component/name" of Build.Copies, or a path below it
	Own   string `json:"own"`   // path in the component's folder
	Text  string `json:"text"`
	Self  bool   `json:"self"` // the netlab executable
	Mode  int64  `json:"mode"` // of a single file; default: 0755 for executables, else 0644
	UID   int    `json:"uid"`
	// Edits change a copied file in this order; each has to match.
	Edits []Edit `json:"edits"`
}

// Edit replaces what a regular expression finds, by the rules of regexp.Expand.
type Edit struct {
	Find string `json:"find"`
	Put  string `json:"put"`
}

// Image is an OCI image under upstream's own name.
type Image struct {
	Name       string   `json:"name"`
	Tag        string   `json:"tag"`  // default: the component's version; "self": 12 hex digits of netlab's sha256
	Node       bool     `json:"node"` // the node image: unpacked for machines, not part of the store
	From       []string `json:"from"` // "component/layer", the lowest first
	Contents   `json:",inline"`
	Entrypoint []string `json:"entrypoint"`
	Cmd        []string `json:"cmd"`
	Env        []string `json:"env"`
	User       string   `json:"user"`
	WorkingDir string   `json:"workingDir"`

	// Over is what a node image is laid over.
	Over *Upstream `json:"over,omitempty"`

	// Pull is the digest of an image that cannot be built here and is only available from the
	// registry of its name. Such an image is Optional: templates and other fields refer to it
	// by that name, and Without is what the component lacks if it is not available.
	Pull     string `json:"pull,omitempty"`
	Optional string `json:"optional,omitempty"`
	Without  string `json:"without,omitempty"`
	// When are the options of labs that use an optional image; none: all.
	When map[string]string `json:"when,omitempty"`
}

// Upstream is an image of a registry that a node image is laid over. If it is available, that
// node image replaces the one that is built, for Nodes of some providers, and the components that
// it contains are not built.
type Upstream struct {
	Name      string   `json:"name"`      // repository; the tag is the component's version
	Providers []string `json:"providers"` // those whose Nodes it makes
	// Pull is its digest. Without one it is the digest that the tag has when it is first
	// pulled: that is kept, and so are the digests that labs were created with.
	Pull  string   `json:"pull,omitempty"`
	Holds []string `json:"holds"` // components that it contains
	Store string   `json:"store"` // the containerd root in it
	// Programs are executables of it that netlab itself runs, by name; they need no library.
	Programs map[string]string `json:"programs"`
	// Debian is the layer that is a whole Debian, for the outside hosts. Where it may not be built
	// the image's lowest layer is used in its place, which is one too.
	Debian string `json:"debian"`
}
