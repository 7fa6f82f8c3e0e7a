package artifacts

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/topology"
)

// withUpstream is a catalog with a node image that is built and one over the registry's.
func (p pullable) withUpstream(t *testing.T) components.Catalog {
	t.Helper()
	repository, _, _ := strings.Cut(p.ref, ":v1")
	c, err := components.Read(fstest.MapFS{
		"engine/component.yaml": {Data: []byte("kind: base\nversion: v1\nabout: a\nsource: b\n")},
		"others/component.yaml": {Data: []byte("kind: base\nversion: v1\nabout: a\nsource: b\nlayers: [{name: base}]\n")},
		"node/component.yaml": {Data: []byte("kind: base\nversion: v1\nabout: a\nsource: b\nimages:\n  - {name: built, node: true}\n  - {name: laid, node: true, over: {name: '" +
			repository + "', providers: [kind], holds: [engine], store: /var/lib/store, debian: others/base}}\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// settles returns what is made for one plan, the image that its Nodes are of, and why it is not
// upstream's.
func (o obtaining) settles(t *testing.T, provider string) (j job, node components.Image, why string) {
	t.Helper()
	o.set.Plan.Provider = provider
	j, err := o.settle(t.Context(), map[string]answer{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range j.parts {
		if k.Name != "node" {
			continue
		}
		if len(k.Images) != 1 {
			t.Fatalf("%d node images", len(k.Images))
		}
		node = k.Images[0]
	}
	return j, node, strings.Join(slices.Collect(maps.Values(j.refused)), " ")
}

func (j job) names() (names []string) {
	for _, k := range j.parts {
		names = append(names, k.Name)
	}
	return names
}

// push moves the registry's tag to another image.
func (p pullable) push(t *testing.T) v1.Hash {
	t.Helper()
	img, err := random.Image(512, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(p.ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// Where upstream's node image is available it replaces ours, its contents are not built, and
// the digest of its tag is kept when the tag moves.
func TestUpstream(t *testing.T) {
	p := newPullable(t)
	p.catalog = p.withUpstream(t)
	first := p.push(t)
	o := p.obtaining(t, t.TempDir())
	if set, node, why := o.settles(t, "netns"); node.Name != "built" || len(set.parts) != 3 || why != "" {
		t.Errorf("another provider's Nodes are of %s, without %v, since %q", node.Name, set.names(), why)
	}
	p.asked.Store(0)
	set, node, why := o.settles(t, "kind")
	if node.Name != "laid" || why != "" || node.Over.Pull != first.String() {
		t.Fatalf("Nodes are of %+v, since %q", node, why)
	}
	if want := []string{"node", "others"}; !slices.Equal(set.names(), want) {
		t.Errorf("made are %v, want %v", set.names(), want)
	}
	if pulled := p.catalog["node"][0].Images[1].Over.Pull; pulled != "" {
		t.Errorf("the catalog has changed: %s", pulled)
	}
	dir, err := o.image(t.Context(), o.picture(set.parts[0], node))
	if err != nil {
		t.Fatal(err)
	}
	if img, _, err := onlyImage(dir); err != nil {
		t.Error(err)
	} else if layers, err := img.Layers(); err != nil || len(layers) != 1 {
		t.Errorf("it has %d layers, %v", len(layers), err)
	}
	status, err := o.Status(p.catalog)
	if err != nil || !slices.Contains(status[1].From, fromRegistry) || !slices.Contains(status[1].Images, p.ref) {
		t.Errorf("it is reported as %+v, %v", status[1], err)
	}

	p.push(t)
	asked := p.asked.Load()
	if _, node, _ := o.settles(t, "kind"); node.Over.Pull != first.String() || p.asked.Load() != asked {
		t.Errorf("the tag moved, and it is of %s after %d questions", node.Over.Pull, p.asked.Load()-asked)
	}
	later := p.obtaining(t, t.TempDir())
	later.Before = components.Artifacts{Images: []string{"others"}, Node: components.NodeImage{Over: p.ref + "@" + first.String()}}
	if _, node, why := later.settles(t, "kind"); node.Name != "laid" || node.Over.Pull != first.String() {
		t.Errorf("Nodes to come are of %+v, since %q; those that run of %s", node, why, first)
	}
	mirrored := p.obtaining(t, t.TempDir())
	mirrored.NodeImage = strings.TrimSuffix(p.ref, "/proxies/envoy:v1") + "/mirror/of"
	if _, _, why := mirrored.settles(t, "kind"); !strings.Contains(why, "NAME_UNKNOWN") {
		t.Errorf("a mirror that lacks it is reported as %q", why)
	}
	p.close()
	gone := p.obtaining(t, t.TempDir())
	gone.Before = later.Before
	gone.set.Plan.Provider = "kind"
	if _, err := gone.settle(t.Context(), map[string]answer{}); err == nil || !strings.Contains(err.Error(), "the lab's Nodes use it") {
		t.Errorf("running Nodes use an image that is not available: %v", err)
	}
}

// What is cached comes first: where our image is and upstream's is not, no registry is asked.
func TestUpstreamAfterTheCache(t *testing.T) {
	p := newPullable(t)
	p.catalog = p.withUpstream(t)
	p.push(t)
	o := p.obtaining(t, t.TempDir())
	k := named(t, o.set, "node")
	at, err := o.imageItem(o.picture(k, k.Images[0]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.keep(t.Context(), at, func(string, *record) error { return nil }); err != nil {
		t.Fatal(err)
	}
	p.asked.Store(0)
	if _, node, why := o.settles(t, "kind"); node.Name != "built" || why != "" || p.asked.Load() != 0 {
		t.Errorf("Nodes are of %s after %d questions (%s)", node.Name, p.asked.Load(), why)
	}
	o.NodeImage = strings.TrimSuffix(p.ref, ":v1") // somebody wants it
	if _, node, why := o.settles(t, "kind"); node.Name != "laid" || why != "" {
		t.Errorf("from a mirror Nodes are of %s (%s)", node.Name, why)
	}
	o.NodeImage = ""
	if err := o.remove(at); err != nil {
		t.Fatal(err)
	}
	if _, node, why := o.settles(t, "kind"); node.Name != "laid" || why != "" {
		t.Errorf("with nothing cached Nodes are of %s (%s)", node.Name, why)
	}
}

// If it is not available, Nodes use our image, with one line of why, and nothing is left; and
// running Nodes keep our image, and no registry is contacted.
func TestUpstreamRefused(t *testing.T) {
	p := newPullable(t)
	p.catalog = p.withUpstream(t)
	tests := map[string]struct {
		answer http.HandlerFunc
		want   string
		atMost int32
		before components.Artifacts
	}{
		"no such image":   {http.NotFound, "404", 3, components.Artifacts{}},
		"offline":         {nil, "--offline", 0, components.Artifacts{}},
		"made of ours":    {nil, "not then", 0, components.Artifacts{Images: []string{"others"}, Lacking: map[string]string{p.ref: "not then"}}},
		"made by another": {nil, "was not asked for", 0, components.Artifacts{Images: []string{"others"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p.turn(test.answer)
			p.asked.Store(0)
			o := p.obtaining(t, t.TempDir())
			o.Before = test.before
			if name == "offline" {
				o.Sources = nil
			}
			set, node, why := o.settles(t, "kind")
			if node.Name != "built" || len(set.parts) != 3 || !strings.Contains(why, test.want) || strings.Contains(why, "\n") {
				t.Errorf("Nodes are of %s, made are %v, since %q", node.Name, set.names(), why)
			}
			if n := p.asked.Load(); n > test.atMost {
				t.Errorf("%d questions, at most %d wanted", n, test.atMost)
			}
			if status, err := o.Status(p.catalog); err != nil || slices.Contains(status[1].From, fromRegistry) {
				t.Errorf("it is reported as %+v, %v", status[1], err)
			}
		})
	}
}

// With upstream's node image nothing is built of what it holds, for any CNI, load balancer or
// ingress.
func TestUpstreamSavesBuilds(t *testing.T) {
	p := newPullable(t)
	c := load(t)
	mirror := strings.TrimSuffix(p.ref, ":v1")
	p.ref = mirror + ":" + c.Known().Kubernetes[0].Version
	p.push(t)
	p.catalog = c
	o := p.obtaining(t, t.TempDir())
	o.NodeImage = mirror
	for cni := range c.Known().CNIs {
		o.set = quickstart(t, func(plan *topology.Plan) {
			plan.Provider = "kind"
			plan.CNI.Name, plan.CNI.Options = cni, nil
		})
		j, node, why := o.settles(t, "kind")
		if why != "" {
			t.Fatal(why)
		}
		built := j.built(t)
		for _, held := range node.Over.Holds {
			for _, b := range named(t, o.set, held).Builds {
				if built[b.Name] {
					t.Errorf("with %s, %s is built", cni, b.Name)
				}
			}
		}
		if !built["cni-plugins"] {
			t.Errorf("with %s, what kindest/node lacks is not built: %v", cni, built)
		}
	}
}

// built names the builds that a job makes.
func (j job) built(t *testing.T) map[string]bool {
	t.Helper()
	built := map[string]bool{}
	add := func(contents components.Contents) {
		for _, f := range contents.Files {
			if m, err := j.madeBy(f); err == nil {
				built[m.Name] = true
			}
		}
	}
	for _, k := range j.parts {
		for _, b := range k.Builds {
			built[b.Name] = true
		}
		for _, l := range k.Layers {
			add(l.Contents)
		}
		for _, i := range k.Images {
			add(i.Contents)
			for _, ref := range i.From {
				_, l, err := j.set.Layer(ref)
				if err != nil {
					t.Fatal(err)
				}
				add(l.Contents)
			}
		}
	}
	return built
}
