package agent

import (
	"context"
	"encoding/json"
	"net"
	"testing"
	"time"
)

// An answer is not answered: two agents, or an agent and an echo service, would go on for ever.
func TestAnswersAreNotAnswered(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := Server{Name: "echo-w1", Address: "127.0.0.1"}
	udp, err := s.listenUDP()
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { udp.Close() })
	go s.answerUDP(udp)
	conn, err := net.Dial("udp", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, buf := "", make([]byte, 4096)
	for _, step := range []struct {
		what     string
		send     func() string
		answered bool
	}{
		{"a probe", func() string { return "hello" }, true},
		{"an answer", func() string { return answer }, false},
		{"JSON that is not an answer", func() string { return `{"name": 1}` }, true},
	} {
		if _, err := conn.Write([]byte(step.send())); err != nil {
			t.Fatal(err)
		}
		wait := 200 * time.Millisecond
		if step.answered {
			wait = 10 * time.Second
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		n, err := conn.Read(buf)
		if (err == nil) != step.answered {
			t.Errorf("%s is answered by %q (%v)", step.what, buf[:n], err)
		}
		if seen := (Seen{}); step.answered && err == nil && json.Unmarshal(buf[:n], &seen) != nil {
			t.Errorf("%s: %q", step.what, buf[:n])
		}
		if step.answered {
			answer = string(buf[:n])
		}
	}
}
