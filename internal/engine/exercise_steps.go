package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"netlab.dev/netlab/exercises"
	"netlab.dev/netlab/internal/hint"
	"netlab.dev/netlab/manifests"
	"netlab.dev/netlab/providers/command"
)

// exerciseManager is the field manager of the objects that an exercise adds.
const exerciseManager = "netlab-exercise"

// kubectl runs kubectl against the lab of an exercise.
func (w *worker) kubectl(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	cmd, err := w.e.Kubectl(ctx, w.ex.Of, args)
	if err != nil {
		return nil, err
	}
	cmd.Stdin = bytes.NewReader(stdin)
	return command.Run(cmd)
}

// rolloutLimit bounds the wait for the objects of an exercise.
const rolloutLimit = 90 * time.Second

// apply makes the objects of the exercise what its file says.
func (w *worker) apply(ctx context.Context) error {
	if w.ex.Adds == "" {
		return nil
	}
	_, err := w.kubectl(ctx, []byte(w.ex.Adds), applying()...)
	return err
}

// add adds the objects of the exercise, and waits for its workloads.
func (w *worker) add(ctx context.Context, p Progress) (err error) {
	if w.ex.Adds == "" {
		return nil
	}
	done := p.Step("objects of exercise " + w.ex.Name)
	defer func() { done(err) }()
	if err := w.apply(ctx); err != nil {
		return err
	}
	objects, err := manifests.Parse([]byte(w.ex.Adds))
	if err != nil {
		return err
	}
	for _, o := range objects {
		if slices.Contains([]string{"Deployment", "DaemonSet", "StatefulSet"}, o.GetKind()) {
			args := []string{"rollout", "status", o.GetKind() + "/" + o.GetName(), "-n", o.GetNamespace(), "--timeout=" + rolloutLimit.String()}
			if _, err := w.kubectl(ctx, nil, args...); err != nil {
				return hint.With(err, fmt.Sprintf("`netlab kubectl %s -- describe pods -n %s` says more", w.ex.Of, o.GetNamespace()))
			}
		}
	}
	return nil
}

func applying() []string {
	return []string{"apply", "--server-side", "--force-conflicts", "--field-manager=" + exerciseManager, "-f", "-"}
}

// deleteObjects deletes objects and waits until they are gone, with all that is in their Namespaces.
func (w *worker) deleteObjects(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	_, err := w.kubectl(ctx, []byte(text), "delete", "--ignore-not-found", "--timeout="+rolloutLimit.String(), "-f", "-")
	return err
}

// named are the arguments of kubectl that name an object.
func named(text string) ([]string, error) {
	o, err := exercises.ParseObject(text)
	args := []string{o.Kind, o.Name}
	if o.Namespace != "" {
		args = append(args, "-n", o.Namespace)
	}
	return args, err
}

// take takes a step.
func (w *worker) take(ctx context.Context, s exercises.Step) error {
	switch {
	case s.Patch != nil:
		object, err := named(s.Patch.Object)
		if err != nil {
			return err
		}
		body, err := s.Patch.JSON()
		if err != nil {
			return err
		}
		_, err = w.kubectl(ctx, nil, slices.Concat([]string{"patch"}, object, []string{"--type=" + s.Patch.Type, "-p", string(body)})...)
		return err
	case s.Delete != "":
		object, err := named(s.Delete)
		if err != nil {
			return err
		}
		_, err = w.kubectl(ctx, nil, slices.Concat([]string{"delete"}, object, []string{"--timeout=" + rolloutLimit.String()})...)
		return err
	case s.Apply != "":
		_, err := w.kubectl(ctx, []byte(s.Apply), applying()...)
		return err
	case s.Run != nil:
		return w.sh(ctx, s.Run.Machine, s.Run.Command)
	case s.Link != "":
		_, err := w.e.Link(ctx, w.ex.Of, []string{s.Link}, false)
		return err
	case s.Signal != nil:
		return w.kill(ctx, *s.Signal, s.Signal.Send)
	}
	return errors.New("a step of an exercise does nothing")
}

// before returns the objects that a step changes, as they are.
func (w *worker) before(ctx context.Context, s exercises.Step) ([]json.RawMessage, error) {
	var object string
	switch {
	case s.Patch != nil:
		object = s.Patch.Object
	case s.Delete != "":
		object = s.Delete
	case s.Apply != "":
		out, err := w.kubectl(ctx, []byte(s.Apply), "get", "--ignore-not-found", "-o", "json", "-f", "-")
		if err != nil {
			return nil, err
		}
		return asTheyAre(out)
	default:
		return nil, nil
	}
	args, err := named(object)
	if err != nil {
		return nil, err
	}
	out, err := w.kubectl(ctx, nil, slices.Concat([]string{"get"}, args, []string{"-o", "json"})...)
	if err != nil {
		return nil, err
	}
	return asTheyAre(out)
}

// asTheyAre returns what kubectl printed, an object, a list or nothing, without what the cluster
// itself writes into objects.
func asTheyAre(printed []byte) (objects []json.RawMessage, err error) {
	var list struct {
		Kind  string
		Items []json.RawMessage
	}
	if len(bytes.TrimSpace(printed)) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(printed, &list); err != nil {
		return nil, fmt.Errorf("read what kubectl printed: %w", err)
	}
	if list.Kind == "List" && len(list.Items) == 0 {
		return nil, nil
	}
	all, err := manifests.Parse(printed)
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		for _, field := range []string{"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"} {
			unstructured.RemoveNestedField(o.Object, "metadata", field)
		}
		unstructured.RemoveNestedField(o.Object, "status")
		text, err := json.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		objects = append(objects, text)
	}
	return objects, nil
}

// takeBack undoes a step, whether it was taken, was undone by somebody else, or neither.
func (w *worker) takeBack(ctx context.Context, d exercises.Done) error {
	s := d.Step
	switch {
	case s.Run != nil && s.Run.Undo != "":
		return w.sh(ctx, s.Run.Machine, s.Run.Undo)
	case s.Link != "":
		_, err := w.e.Link(ctx, w.ex.Of, []string{s.Link}, true)
		return err
	case s.Signal != nil && s.Signal.Send == exercises.SendStop:
		return w.kill(ctx, *s.Signal, "CONT")
	}
	if s.Apply != "" {
		if err := w.deleteNew(ctx, s.Apply, d.Before); err != nil {
			return err
		}
	}
	for _, object := range d.Before {
		if err := w.restore(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// deleteNew deletes the objects of a text that were not there before.
func (w *worker) deleteNew(ctx context.Context, text string, before []json.RawMessage) error {
	applied, err := manifests.Parse([]byte(text))
	if err != nil {
		return err
	}
	var old []string
	for _, b := range before {
		o := unstructured.Unstructured{}
		if err := json.Unmarshal(b, &o.Object); err != nil {
			return err
		}
		old = append(old, manifests.Called(o))
	}
	for _, o := range applied {
		if slices.Contains(old, manifests.Called(o)) {
			continue
		}
		text, err := json.Marshal(o.Object)
		if err == nil {
			err = w.deleteObjects(ctx, string(text))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restore makes an object what it was. One in a Namespace that is gone went with it.
func (w *worker) restore(ctx context.Context, object []byte) error {
	there, err := w.kubectl(ctx, object, "get", "--ignore-not-found", "-o", "name", "-f", "-")
	if err != nil {
		return err
	}
	verb := "replace"
	if len(bytes.TrimSpace(there)) == 0 {
		verb = "create"
	}
	_, err = w.kubectl(ctx, object, verb, "-f", "-")
	var failed *command.Error
	if verb == "create" && errors.As(err, &failed) && strings.Contains(failed.Output, "NotFound") && strings.Contains(failed.Output, "namespaces") {
		return nil
	}
	return err
}

// sh runs a shell command in a machine of the lab.
func (w *worker) sh(ctx context.Context, machine, text string) error {
	m, err := w.e.Machine(ctx, w.ex.Of, machine)
	if err != nil {
		return err
	}
	_, err = command.Run(m.Command(ctx, "sh", "-ec", text))
	return err
}

// kill sends a signal to the processes of a daemon, if there are any.
func (w *worker) kill(ctx context.Context, s exercises.Signal, send string) error {
	return w.sh(ctx, s.Machine, fmt.Sprintf("pkill -%s -x %s || [ $? = 1 ]", send, s.Process))
}
