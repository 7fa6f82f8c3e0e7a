package report

import (
	"encoding/json"
	"testing"
)

// TestJSONContract: other tools read these names; a change breaks them.
func TestJSONContract(t *testing.T) {
	r := Report{SchemaVersion: SchemaVersion, Lab: "l", Provider: "netns", Kubernetes: "v1", CNI: CNI{"flannel", "v2"}, Summary: Summary{1, 2, 3, 4},
		Paths: []Result{{ID: "x", From: End{"pod", "a", "n", "1.1.1.1"}, To: End{"pod", "b", "n", "2.2.2.2"}, Protocol: "http", Expected: Reachable, Outcome: Fail,
			Reason: "r", Observed: Observed{"1.1.1.1", "b", "n", 5}, Command: "c", DurationMillis: 7}}}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"schemaVersion":1,"lab":"l","provider":"netns","kubernetes":"v1","cni":{"name":"flannel","version":"v2"},"paths":[{"id":"x",` +
		`"from":{"kind":"pod","name":"a","node":"n","ip":"1.1.1.1"},"to":{"kind":"pod","name":"b","node":"n","ip":"2.2.2.2"},"protocol":"http","expected":"reachable",` +
		`"outcome":"fail","reason":"r","observed":{"sourceIP":"1.1.1.1","backend":"b","node":"n","rttMicros":5},"command":"c","durationMillis":7}],` +
		`"summary":{"pass":1,"fail":2,"skip":3,"broken":4}}`
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
}
