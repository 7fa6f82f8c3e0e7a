package pulumi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// hidden takes the place of a secret in a message.
const hidden = "[secret]"

// shortest is the length from which a secret is hidden, in bytes. Shorter ones are parts of words.
const shortest = 3

// secrets are the secret values of the properties that were given: the problems of a lab file quote
// values, and Pulumi shows messages as they are.
type secrets struct {
	mutex sync.Mutex
	texts []string // the longest first
}

// learn adds the secret values of properties.
func (s *secrets) learn(all ...resource.PropertyMap) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, properties := range all {
		s.find(resource.NewObjectProperty(properties), false)
	}
	slices.SortFunc(s.texts, func(a, b string) int { return len(b) - len(a) })
}

func (s *secrets) find(p resource.PropertyValue, inSecret bool) {
	switch {
	case p.IsSecret():
		s.find(p.SecretValue().Element, true)
	case p.IsOutput() && p.OutputValue().Known:
		s.find(p.OutputValue().Element, inSecret || p.OutputValue().Secret)
	case p.IsArray():
		for _, item := range p.ArrayValue() {
			s.find(item, inSecret)
		}
	case p.IsObject():
		for _, value := range p.ObjectValue() {
			s.find(value, inSecret)
		}
	case inSecret && (p.IsString() || p.IsNumber()):
		s.add(fmt.Sprint(p.V))
	}
}

// add adds a text, and as it is between quotes.
func (s *secrets) add(text string) {
	inJSON, _ := json.Marshal(text) // a string always can be
	inGo := strconv.Quote(text)
	for _, form := range []string{text, string(inJSON[1 : len(inJSON)-1]), inGo[1 : len(inGo)-1]} {
		if len(form) >= shortest && !slices.Contains(s.texts, form) {
			s.texts = append(s.texts, form)
		}
	}
}

// hide is a message without the secrets.
func (s *secrets) hide(text string) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, secret := range s.texts {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	return text
}
