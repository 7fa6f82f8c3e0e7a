package page

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var shots = flag.String("shots", "", "put pictures of the pages into this directory, to be looked at")

// opening bounds everything that is done with one page.
const opening = 2 * time.Minute

// browser is a page in headless Chromium, with its console messages and requests.
type browser struct {
	t    *testing.T
	ctx  context.Context
	file string

	mu         sync.Mutex
	complaints []string
	requests   []string
}

// open writes a page to a file and opens it in a window of some width. Chromium is Debian's,
// which `make test` installs. It is a failure if Chromium is missing where nothing may be
// missing (see providertest.Alone).
func open(t *testing.T, s Subject, width int64) *browser {
	t.Helper()
	refuse := t.Skip
	if os.Getenv("NETLAB_TEST_LABS") == "require" {
		refuse = t.Fatal
	}
	if testing.Short() {
		refuse("opens a browser, which takes seconds: not with -short")
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		refuse("there is no chromium; `make test` installs it")
	}
	b := &browser{t: t, file: filepath.Join(t.TempDir(), "report.html")}
	if err := os.WriteFile(b.file, []byte(written(t, s)), 0o644); err != nil {
		t.Fatal(err)
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(filepath.Join(t.TempDir(), "profile")),
		chromedp.NoSandbox, // it refuses root, and the page is our own
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	limited, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), opening)
	allocated, free := chromedp.NewExecAllocator(limited, flags...)
	ctx, _ := chromedp.NewContext(allocated, chromedp.WithListener(b.heard))
	b.ctx = ctx
	t.Cleanup(func() {
		b.quiet()
		if err := chromedp.Cancel(ctx); err != nil { // waits until Chromium has exited
			t.Errorf("close the browser: %v", err)
		}
		free()
		cancel()
	})
	b.do(chromedp.EmulateViewport(width, 900), chromedp.Navigate("file://"+b.file), chromedp.WaitReady(chromedp.CSS("html.js")))
	return b
}

func (b *browser) heard(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("%s at line %d", e.ExceptionDetails.Text, e.ExceptionDetails.LineNumber))
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, e.Entry.Text)
	}
}

// quiet: no request left the page, and the console stayed empty.
func (b *browser) quiet() {
	b.mu.Lock()
	defer b.mu.Unlock()
	page := 0
	for _, url := range b.requests {
		switch {
		case url == "file://"+b.file:
			page++
		case !strings.HasPrefix(url, "data:"):
			b.t.Errorf("the page asks for %s", url)
		}
	}
	if page == 0 {
		b.t.Errorf("no request was seen for the page itself, only %q", b.requests)
	}
	for _, text := range b.complaints {
		b.t.Errorf("console: %s", text)
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// press presses keys one after another.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.do(chromedp.KeyEvent(k))
	}
}

// eval evaluates a JavaScript expression.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// script runs JavaScript statements.
func (b *browser) script(statements string) {
	b.t.Helper()
	eval[bool](b, "(() => { "+statements+"; return true })()")
}

// scheme sets light or dark colours.
func (b *browser) scheme(value string) {
	b.t.Helper()
	b.media(emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}}})
}

func (b *browser) media(p emulation.SetEmulatedMediaParams) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, p); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) pdf() []byte {
	b.t.Helper()
	data, err := chromedp.Run(b.ctx, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4)))
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// shot takes a screenshot, where it was requested.
func (b *browser) shot(name string) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	b.do(chromedp.Sleep(time.Second)) // nothing moves any more
	for kind, of := range map[string]chromedp.Action[[]byte]{"window": chromedp.CaptureScreenshot(), "whole": chromedp.FullScreenshot(100)} {
		data, err := chromedp.Run(b.ctx, of)
		if err != nil {
			b.t.Fatal(err)
		}
		b.save(name+"-"+kind+".png", data)
	}
}

func (b *browser) save(name string, data []byte) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*shots, name), data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
