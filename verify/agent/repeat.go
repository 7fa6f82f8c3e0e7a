package agent

import (
	"context"
	"sync"
	"time"
)

const (
	// maxParallel is how many repetitions of one probe run at a time, without those that have
	// waited for a quarter of their timeout: they use no CPU, and must not delay the others.
	maxParallel = 4
	// probesUntilDead is how many parallel repetitions have to time out, with no other outcome
	// among them, for the target to count as dead.
	probesUntilDead = 8
)

// Do runs the probe, all its repetitions, within its own bounds.
func (p Probe) Do(ctx context.Context) Result {
	if p.ForMillis > 0 {
		return p.doSeries(ctx)
	}
	start := time.Now()
	count := min(max(p.Count, 1), maxCount)
	answers := make([]Answer, count)
	once := func(i int) {
		ctx, cancel := context.WithTimeout(ctx, p.Timeout())
		defer cancel()
		p := p
		if p.Trace != "" {
			p.Trace, p.sockets = Token(p.Trace, i), &sockets{}
		}
		begin := time.Now()
		a, err := p.ask(ctx)
		if p.Trace != "" {
			a.Sockets = p.sockets.list()
		}
		if a.RTTMicros == 0 {
			a.RTTMicros = time.Since(begin).Microseconds()
		}
		a.Outcome = outcome(err)
		if err != nil {
			a.Error = err.Error()
		}
		answers[i] = a
	}
	if p.Parallel {
		answers = answers[:p.parallel(count, func(i int) string { once(i); return answers[i].Outcome })]
	} else {
		misses := 0
		for i := range count {
			once(i)
			// A dead target is known after a few repetitions; the rest would only cost time.
			if answers[i].Outcome == Timeout {
				misses++
			}
			if misses == 3 {
				answers = answers[:i+1]
				break
			}
		}
	}
	return resultOf(answers, time.Since(start))
}

func resultOf(answers []Answer, took time.Duration) Result {
	last := answers[len(answers)-1]
	r := Result{Outcome: last.Outcome, Error: last.Error, Answers: answers}
	for _, a := range answers {
		if a.Outcome == Reply {
			r.Outcome, r.Error = Reply, ""
		}
	}
	r.ElapsedMicros = took.Microseconds()
	return r
}

// parallel makes repetitions a few at a time and returns how many it made: of a dead target only
// the first, as the rest would only cost time.
func (p Probe) parallel(count int, once func(i int) (outcome string)) (made int) {
	slots, outcomes := make(chan struct{}, maxParallel), make(chan string, count)
	var wg sync.WaitGroup
	defer wg.Wait()
	start := func(i int) {
		slots <- struct{}{}
		release := sync.OnceFunc(func() { <-slots })
		wg.Go(func() {
			defer time.AfterFunc(p.Timeout()/4, release).Stop()
			defer release()
			outcomes <- once(i)
		})
	}
	for ; made < min(count, probesUntilDead); made++ {
		start(made)
	}
	for range made {
		if <-outcomes == Timeout {
			continue
		}
		for ; made < count; made++ {
			start(made)
		}
		break
	}
	return made
}

// Timeout is how long each repetition may take.
func (p Probe) Timeout() time.Duration {
	if p.TimeoutMillis <= 0 {
		return time.Second
	}
	return min(time.Duration(p.TimeoutMillis)*time.Millisecond, maxTimeout)
}
