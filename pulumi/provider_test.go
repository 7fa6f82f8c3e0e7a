package pulumi

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/artifacts"
	"netlab.dev/netlab/components"
	"netlab.dev/netlab/internal/engine"
	"netlab.dev/netlab/providers"
)

// served is the provider behind its protocol, with the engine and the providers of labs that users
// have, an empty state directory and an empty cache. Nothing here makes a lab.
type served struct {
	pulumirpc.ResourceProviderClient
	engine   engine.Engine
	provider *Provider // behind the client
	said     *[]string // what was shown beside resources
}

// hostLog is a Host that keeps the lines that it is given.
type hostLog struct{ lines *[]string }

func (h hostLog) Log(_ context.Context, severity diag.Severity, _ resource.URN, text string) error {
	*h.lines = append(*h.lines, string(severity)+": "+text)
	return nil
}

func (h hostLog) LogStatus(context.Context, diag.Severity, resource.URN, string) error { return nil }

func serve(t *testing.T) served {
	t.Helper()
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	e := engine.Engine{Root: providers.Root(t.TempDir()), Catalog: catalog, Providers: engine.Providers(),
		Software: artifacts.Cache{Dir: t.TempDir(), Self: os.Args[0]}}
	said := new([]string)
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	p := New(e, nil, semver.MustParse("1.2.3"), hostLog{said})
	pulumirpc.RegisterResourceProviderServer(server, plugin.NewProviderServer(p))
	go func() { _ = server.Serve(listener) }() // it ends with Stop
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:provider", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := served{pulumirpc.NewResourceProviderClient(conn), e, p, said}
	if _, err := s.Handshake(t.Context(), &pulumirpc.ProviderHandshakeRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Configure(t.Context(), &pulumirpc.ConfigureRequest{AcceptSecrets: true}); err != nil {
		t.Fatal(err)
	}
	return s
}

// properties reads properties that are written in YAML. A value of ? is not known yet; one of !TEXT
// is the secret TEXT.
func properties(t *testing.T, text string) resource.PropertyMap {
	t.Helper()
	tree := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	return resource.NewPropertyMapFromMapRepl(tree, nil, func(v any) (resource.PropertyValue, bool) {
		word, _ := v.(string)
		if secret, is := strings.CutPrefix(word, "!"); is {
			return resource.MakeSecret(resource.NewStringProperty(secret)), true
		}
		return unknown(), word == "?"
	})
}

var keep = plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true}

func marshal(t *testing.T, p resource.PropertyMap) *structpb.Struct {
	t.Helper()
	s, err := plugin.MarshalProperties(p, keep)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unmarshal(t *testing.T, s *structpb.Struct) resource.PropertyMap {
	t.Helper()
	p, err := plugin.UnmarshalProperties(s, keep)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func urn(of tokens.Type) string { return "urn:pulumi:test::labs::" + string(of) + "::one" }

// check returns the failures, as "property: reason".
func (s served) check(t *testing.T, of tokens.Type, text string) []string {
	t.Helper()
	answer, err := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urn(of), News: marshal(t, properties(t, text))})
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, f := range answer.Failures {
		all = append(all, f.Property+": "+f.Reason)
	}
	return all
}

// preview returns the outputs that a new resource would have.
func (s served) preview(t *testing.T, of tokens.Type, text string) (resource.PropertyMap, error) {
	t.Helper()
	answer, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn(of), Properties: marshal(t, properties(t, text)), Preview: true})
	if err != nil {
		return nil, err
	}
	return unmarshal(t, answer.Properties), nil
}

const small = "metadata: {name: small}\n"

// exists writes the state of a lab that `netlab up` made of a file. Its machines are not there.
func (s served) exists(t *testing.T, text, phase string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: netlab/v1alpha1\nkind: Lab\n"+text), 0o644); err != nil {
		t.Fatal(err)
	}
	set, _, err := s.engine.Resolve(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.engine.Root.Write(providers.State{Plan: set.Plan, Phase: phase, File: file}); err != nil {
		t.Fatal(err)
	}
	return file
}

// matches compares texts with what they have to begin with.
func matches(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	ok := len(got) == len(want)
	for i := range got {
		ok = ok && strings.HasPrefix(got[i], want[i])
	}
	if !ok {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
