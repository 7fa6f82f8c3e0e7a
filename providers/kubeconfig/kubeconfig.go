// Package kubeconfig merges a lab's cluster, user and context into the user's kubeconfig and
// removes them again. Each entry has an extension with its lab and a checksum of its content, so
// that entries the user has changed are recognized and left alone; no other record is needed.
//
// Left out: comments. client-go writes the file, and drops them as `kubectl config` does.
// Fields that client-go does not know would be dropped too: a file with such fields is refused.
package kubeconfig

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	apiv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"

	"netlab.dev/netlab/labs"
)

// Files returns the files that kubectl reads, by $KUBECONFIG or in the home directory, and the one
// that new entries are written to.
func Files() (all []string, into string) {
	options := clientcmd.NewDefaultPathOptions()
	return options.GetLoadingPrecedence(), options.GetDefaultFilename()
}

// markKey is the name of the extension of netlab's entries.
const markKey = "netlab.dev/lab"

// mark is that extension. Sum is the checksum of the entry when it was merged; Made reports
// that netlab created the file.
type mark struct {
	Lab  string `json:"lab"`
	Sum  string `json:"sum"`
	Made bool   `json:"made,omitempty"`
}

// ConflictError reports an entry with the lab's name that does not belong to the lab.
type ConflictError struct{ File, Kind, Name string }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s has a %s %s that was not added by netlab", e.File, e.Kind, e.Name)
}

// Hint says what to do about it.
func (e *ConflictError) Hint() string {
	return "rename it, or keep the lab apart: `netlab kubeconfig LAB >FILE` and KUBECONFIG=FILE"
}

// Merge writes the entries of the current context of a lab's kubeconfig to a file, which is
// created if it is missing, and returns the context's name. Entries of an earlier Merge are
// replaced, but a namespace that the user has set is kept. The file's current context is set only
// if there is none. Nothing is written if one of all, the other files that kubectl reads, has
// another entry of that name.
func Merge(file string, all []string, lab labs.Name, own []byte) (context string, err error) {
	from, err := clientcmd.Load(own)
	if err != nil {
		return "", fmt.Errorf("read the lab's kubeconfig: %w", err)
	}
	context = from.CurrentContext
	c, there := from.Contexts[context]
	if !there || from.Clusters[c.Cluster] == nil || from.AuthInfos[c.AuthInfo] == nil {
		return "", fmt.Errorf("the lab's kubeconfig has no context %q with cluster and user", context)
	}
	for _, other := range all {
		config, err := load(other)
		if err != nil {
			return "", err
		}
		if err := conflict(other, config, c, context, lab); err != nil {
			return "", err
		}
	}
	return context, change(file, func(into *api.Config, made bool) (bool, error) {
		if err := conflict(file, into, c, context, lab); err != nil {
			return false, err
		}
		cluster, user, own := from.Clusters[c.Cluster].DeepCopy(), from.AuthInfos[c.AuthInfo].DeepCopy(), c.DeepCopy()
		if was := into.Contexts[context]; was != nil {
			own.Namespace = was.Namespace
			if m, _ := marked(was.Extensions); m.Made {
				made = true
			}
		}
		cluster.Extensions = newMark(lab, clusterSum(cluster), false)
		user.Extensions = newMark(lab, userSum(user), false)
		own.Extensions = newMark(lab, contextSum(own), made)
		into.Clusters[c.Cluster], into.AuthInfos[c.AuthInfo], into.Contexts[context] = cluster, user, own
		if into.CurrentContext == "" {
			into.CurrentContext = context
		}
		return false, nil
	})
}

// Unmerge removes the entries of a lab from a file and reports whether there were any. Entries
// that the user has changed stay, except for a changed namespace of a context. A file that Merge
// created is removed with its last entry.
func Unmerge(file string, lab labs.Name) (found bool, err error) {
	if there, err := Has(file, lab); err != nil || !there {
		return false, err
	}
	return true, change(file, func(config *api.Config, _ bool) (empty bool, err error) {
		made := false
		for name, c := range config.Contexts {
			if m, ours := marked(c.Extensions); ours && m.Lab == lab.Label() && m.Sum == contextSum(c) {
				delete(config.Contexts, name)
				made = made || m.Made
				if config.CurrentContext == name {
					config.CurrentContext = ""
				}
			}
		}
		for name, c := range config.Clusters {
			if m, ours := marked(c.Extensions); ours && m.Lab == lab.Label() && m.Sum == clusterSum(c) {
				delete(config.Clusters, name)
			}
		}
		for name, u := range config.AuthInfos {
			if m, ours := marked(u.Extensions); ours && m.Lab == lab.Label() && m.Sum == userSum(u) {
				delete(config.AuthInfos, name)
			}
		}
		return made && len(config.Contexts)+len(config.Clusters)+len(config.AuthInfos)+len(config.Extensions) == 0, nil
	})
}

// Has reports whether a file has unchanged entries of the lab.
func Has(file string, lab labs.Name) (bool, error) {
	config, err := load(file)
	return err == nil && has(config, lab), err
}

func has(config *api.Config, lab labs.Name) bool {
	is := func(extensions map[string]runtime.Object, sum string) bool {
		m, ours := marked(extensions)
		return ours && m.Lab == lab.Label() && m.Sum == sum
	}
	return slices.ContainsFunc(slices.Collect(maps.Values(config.Contexts)), func(c *api.Context) bool { return is(c.Extensions, contextSum(c)) }) ||
		slices.ContainsFunc(slices.Collect(maps.Values(config.Clusters)), func(c *api.Cluster) bool { return is(c.Extensions, clusterSum(c)) }) ||
		slices.ContainsFunc(slices.Collect(maps.Values(config.AuthInfos)), func(u *api.AuthInfo) bool { return is(u.Extensions, userSum(u)) })
}

// conflict finds entries with the lab's names that do not belong to the lab.
func conflict(file string, config *api.Config, c *api.Context, context string, lab labs.Name) error {
	foreign := func(extensions map[string]runtime.Object, sum string) bool {
		m, ours := marked(extensions)
		return !ours || m.Lab != lab.Label() || m.Sum != sum
	}
	if was := config.Contexts[context]; was != nil && foreign(was.Extensions, contextSum(was)) {
		return &ConflictError{file, "context", context}
	}
	if was := config.Clusters[c.Cluster]; was != nil && foreign(was.Extensions, clusterSum(was)) {
		return &ConflictError{file, "cluster", c.Cluster}
	}
	if was := config.AuthInfos[c.AuthInfo]; was != nil && foreign(was.Extensions, userSum(was)) {
		return &ConflictError{file, "user", c.AuthInfo}
	}
	return nil
}

func newMark(lab labs.Name, sum string, made bool) map[string]runtime.Object {
	data, err := json.Marshal(mark{lab.Label(), sum, made})
	if err != nil {
		panic(err) // two strings and a bool
	}
	return map[string]runtime.Object{markKey: &runtime.Unknown{Raw: data, ContentType: runtime.ContentTypeJSON}}
}

func marked(extensions map[string]runtime.Object) (mark, bool) {
	var out mark
	raw, is := extensions[markKey].(*runtime.Unknown)
	return out, is && json.Unmarshal(raw.Raw, &out) == nil && out.Lab != ""
}

func clusterSum(c *api.Cluster) string {
	c = c.DeepCopy()
	c.Extensions = nil
	return sum(c)
}

func userSum(u *api.AuthInfo) string {
	u = u.DeepCopy()
	u.Extensions = nil
	return sum(u)
}

// contextSum excludes the namespace: tools change it often.
func contextSum(c *api.Context) string { return sum([]string{c.Cluster, c.AuthInfo}) }

func sum(entry any) string {
	data, err := json.Marshal(entry)
	if err != nil {
		return "" // it matches no mark: the entry is left alone
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))[:16]
}

// load reads a file. A missing file is an empty configuration.
func load(file string) (*api.Config, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return api.NewConfig(), nil
	}
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return config, nil
}

// known rejects a file with fields that would be lost when it is written.
func known(file string, data []byte) error {
	if err := yaml.UnmarshalStrict(data, &apiv1.Config{}); err != nil {
		return fmt.Errorf("%s has fields that would be lost if netlab wrote it: %w", file, err)
	}
	return nil
}
