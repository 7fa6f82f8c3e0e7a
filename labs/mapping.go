package labs

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// entry is one key of a mapping.
type entry struct {
	key   string
	node  ast.Node // the key itself
	value ast.Node
}

// entries lists the keys of a mapping, in order, merge keys (<<) resolved: the mapping's own
// keys override merged ones.
func (d *decoder) entries(node ast.Node, path string) ([]entry, bool) {
	mapping, ok := node.(ast.MapNode)
	if !ok {
		return nil, false
	}
	var own, merged []entry
	for it := mapping.MapRange(); it.Next(); {
		if it.Key().IsMergeKey() {
			merged = append(merged, d.mergedEntries(it.Value(), path)...)
			continue
		}
		var key ast.Node = it.Key()
		if explicit, ok := key.(*ast.MappingKeyNode); ok {
			key = explicit.Value
		}
		scalar := d.follow(key)
		if scalar == nil || !isScalar(scalar) {
			d.at(it.Key(), path, "", "a key must be a scalar")
			continue
		}
		text, ok := stringOf(scalar)
		if !ok {
			text = scalar.GetToken().Value
		}
		e := entry{text, key, it.Value()}
		if i := slices.IndexFunc(own, func(o entry) bool { return o.key == e.key }); i >= 0 {
			d.at(key, join(path, e.key), "remove one", "duplicate field, first in line %d", own[i].node.GetToken().Position.Line)
			continue
		}
		own = append(own, e)
	}
	for _, m := range merged {
		if !slices.ContainsFunc(own, func(o entry) bool { return o.key == m.key }) {
			own = append(own, m)
		}
	}
	return own, true
}

// mergedEntries lists the keys of the value of <<: a mapping or a list of them.
func (d *decoder) mergedEntries(value ast.Node, path string) []entry {
	node := d.follow(value)
	if node == nil {
		d.noAnchor(value, path)
		return nil
	}
	if list, ok := node.(*ast.SequenceNode); ok {
		var out []entry
		for _, item := range list.Values {
			out = append(out, d.mergedEntries(item, path)...)
		}
		return out
	}
	entries, ok := d.entries(node, path)
	if d.uses += len(entries); d.uses > maxUses {
		return nil
	}
	if !ok {
		d.at(value, path, "", "<< expects a mapping, got %s", describe(node))
	}
	return entries
}

func (d *decoder) noAnchor(node ast.Node, path string) {
	name := strings.TrimPrefix(node.String(), "*")
	d.at(node, path, "define &"+name+" above it", "undefined anchor of alias *%s", name)
}
