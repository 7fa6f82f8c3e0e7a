package e2e

import (
	"os"
	"strconv"
	"testing"

	"netlab.dev/netlab/components"
	"netlab.dev/netlab/labs/labstest"
	"netlab.dev/netlab/providers/providertest"
)

// nameGenerated is the one name of these labs, made one after the other.
const nameGenerated = "nlt-generated"

// generatedSeeds are labs of labstest.Generate, the most telling one first: what `make test` has
// time for. NETLAB_TEST_GENERATED is how many of them are made.
func generatedSeeds(t *testing.T) []uint64 {
	t.Helper()
	seeds := []uint64{11, 10, 9, 7, 0, 1, 2, 3, 4, 5, 6}
	count := 1
	if text := os.Getenv("NETLAB_TEST_GENERATED"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil || count < 1 || count > len(seeds) {
			t.Fatalf("NETLAB_TEST_GENERATED is %q, not a number up to %d", text, len(seeds))
		}
	}
	return seeds[:count]
}

// TestGenerated: labs with unusual networks are verified green.
func TestGenerated(t *testing.T) {
	providertest.NeedLabs(t)
	catalog, err := components.Load()
	if err != nil {
		t.Fatal(err)
	}
	l := newLabs(t)
	for _, seed := range generatedSeeds(t) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			b := l.lab(t, nameGenerated, labstest.Generate(seed, catalog.Known()))
			b.run(t, 0, "up", b.file)
		})
	}
}
