package pulumi

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// values are a resource's properties as its program wrote them, without Pulumi's wrapping.
type values struct {
	tree map[string]any // of JSON's types
	// unknown are the paths of values that are known only once other resources have been made. They
	// are left out of tree; in a list null takes their place.
	unknown []string
	secret  bool // some value is a secret
}

// read unwraps properties. Assets and archives are no properties of any resource here.
func read(properties resource.PropertyMap) (v values, err error) {
	tree, err := v.read(resource.NewObjectProperty(properties), "")
	v.tree, _ = tree.(map[string]any)
	return v, err
}

// read unwraps one property; nil is one that is not set or not known.
func (v *values) read(p resource.PropertyValue, path string) (any, error) {
	switch {
	case p.IsSecret():
		v.secret = true
		return v.read(p.SecretValue().Element, path)
	case p.IsOutput():
		o := p.OutputValue()
		v.secret = v.secret || o.Secret
		if !o.Known {
			v.unknown = append(v.unknown, path)
			return nil, nil
		}
		return v.read(o.Element, path)
	case p.IsComputed():
		v.unknown = append(v.unknown, path)
		return nil, nil
	case p.IsArray():
		list := []any{}
		for i, item := range p.ArrayValue() {
			value, err := v.read(item, fmt.Sprintf("%s[%d]", path, i))
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case p.IsObject():
		tree := map[string]any{}
		for _, key := range p.ObjectValue().StableKeys() {
			value, err := v.read(p.ObjectValue()[key], join(path, string(key)))
			if err != nil {
				return nil, err
			}
			if value != nil {
				tree[string(key)] = value
			}
		}
		return tree, nil
	case p.IsNull(), p.IsBool(), p.IsNumber(), p.IsString():
		return p.V, nil
	}
	return nil, fmt.Errorf("property %s: a value of type %s is not supported", path, p.TypeString())
}

func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

// among reports whether a field is one of paths, or below one.
func among(field string, paths []string) bool {
	for _, path := range paths {
		if rest, below := strings.CutPrefix(field, path); below && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// into decodes values into a struct with json tags.
func (v values) into(out any) error {
	data, err := json.Marshal(v.tree)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, out)
}

// property is the property of a value in its JSON form.
func property(value any) (resource.PropertyValue, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return resource.PropertyValue{}, err
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		return resource.PropertyValue{}, err
	}
	return resource.NewPropertyValue(plain), nil
}

// unknown is a value that is known only once the resource has been made.
func unknown() resource.PropertyValue {
	return resource.MakeComputed(resource.NewStringProperty(""))
}
