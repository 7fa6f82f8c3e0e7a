package compare

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// alpha is the probability, for all rows of a comparison together, that one differs significantly
// although nothing was changed.
const alpha = 0.05

// mannWhitney is the two-sided p-value of the Mann-Whitney U test: how probable it is that two samples
// of one distribution differ as much. It assumes nothing about the distribution.
func mannWhitney(a, b []float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 1
	}
	sample := func(v []float64) *benchmath.Sample {
		return benchmath.NewSample(slices.Clone(v), &benchmath.DefaultThresholds)
	}
	return benchmath.AssumeNothing.Compare(sample(a), sample(b)).P
}

// superiority is the probability that a value of b is higher than one of a, equal ones counted half:
// 0.5 where they do not differ, 0 or 1 where they do not overlap (Vargha and Delaney's A).
func superiority(a, b []float64) float64 {
	sum := 0.0
	for _, x := range a {
		for _, y := range b {
			switch {
			case y > x:
				sum++
			case y == x:
				sum += 0.5
			}
		}
	}
	return sum / float64(len(a)*len(b))
}

// holm corrects the p-values of several tests for their number (Holm, 1979): the probability that any
// of those below a limit is a chance result is below the limit.
func holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case p[i] < p[j]:
			return -1
		case p[i] > p[j]:
			return 1
		}
		return 0
	})
	adjusted := make([]float64, len(p))
	highest := 0.0
	for rank, i := range order {
		highest = max(highest, min(1, p[i]*float64(len(p)-rank)))
		adjusted[i] = highest
	}
	return adjusted
}

// leastP is the smallest p-value that samples of these sizes can give: that of samples which do not
// overlap.
func leastP(n, m int) float64 {
	if n == 0 || m == 0 {
		return 1
	}
	ways := 1.0 // n+m choose n
	for i := 1; i <= n; i++ {
		ways *= float64(m+i) / float64(i)
	}
	return math.Min(1, 2/ways)
}

// runsFor is how many runs of each variant are needed so that a difference in one of several rows can
// be significant.
func runsFor(rows int) int {
	n := 2
	for leastP(n, n)*float64(max(rows, 1)) >= alpha {
		n++
	}
	return n
}
