package exercises

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/invopop/jsonschema"

	"netlab.dev/netlab/labs"
)

// The source of the types: their comments are the descriptions of the schema.
//
//go:embed exercise.go
var source string

// Schema returns the JSON Schema (draft 2020-12) of an exercise file. It covers structure and names;
// Load validates more.
func Schema(known Known) ([]byte, error) {
	r, err := labs.Reflector(source)
	if err != nil {
		return nil, err
	}
	s := r.Reflect(Exercise{})
	s.ID = "https://netlab.dev/schema/exercise-v1alpha1.json"
	s.Title = "netlab exercise, " + labs.APIVersion
	top := func(property string) *jsonschema.Schema { p, _ := s.Properties.Get(property); return p }
	in := func(definition, property string) *jsonschema.Schema {
		p, _ := s.Definitions[definition].Properties.Get(property)
		return p
	}
	top("apiVersion").Const, top("kind").Const = labs.APIVersion, Kind
	top("minutes").Minimum, top("minutes").Maximum = "1", json.Number(fmt.Sprint(maxMinutes))
	one := uint64(1)
	s.Definitions["Step"].MinProperties, s.Definitions["Step"].MaxProperties = &one, &one
	s.Definitions["Text"].MinProperties, s.Definitions["Text"].MaxProperties = &one, &one
	in("Patch", "type").Enum = values(patchTypes())
	in("Signal", "send").Enum = values(signals())
	in("Solved", "verify").Items.Enum = values(known.Paths)
	s.Definitions["Run"].Required = []string{"machine", "command"} // undo: of faults only
	labs.PathSchema(s)
	return json.MarshalIndent(s, "", "  ")
}

func values(texts []string) (all []any) {
	for _, t := range texts {
		all = append(all, t)
	}
	return all
}
