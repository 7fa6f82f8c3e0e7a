package page

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"netlab.dev/netlab/verify/checks"
	"netlab.dev/netlab/verify/report"
)

// find returns the index in a report of the first path from one end to another.
func find(t *testing.T, s Subject, id, from, to string) (i int, p report.Result, li string) {
	t.Helper()
	for i, p := range s.Report.Paths {
		if p.ID == id && p.From.Name == from && p.To.Name == to {
			return i, p, "#" + pathID(i)
		}
	}
	t.Fatalf("no path %s %s → %s", id, from, to)
	return 0, report.Result{}, ""
}

// TestLook opens a report with faults, evidence and measurements, and uses it as readers do:
// by mouse, by keyboard, with dark colours, on paper and on a phone.
func TestLook(t *testing.T) {
	s := subject(t, "sampled")
	b := open(t, s, 1400)
	t.Run("click", func(t *testing.T) { b.at(t).clicks(s) })
	t.Run("lost", func(t *testing.T) { b.at(t).lost(s) })
	t.Run("hidden", func(t *testing.T) { b.at(t).hidden(s) })
	t.Run("ends only", func(t *testing.T) { b.at(t).endsOnly(s) })
	t.Run("measured", func(t *testing.T) { b.at(t).measured(s) })
	t.Run("links", func(t *testing.T) { b.at(t).links(s) })
	t.Run("find", func(t *testing.T) { b.at(t).finds(s) })
	t.Run("keyboard", func(t *testing.T) { b.at(t).keyboard(s) })
	for _, width := range []int64{400, 900, 1400} {
		t.Run(fmt.Sprintf("%d pixels", width), func(t *testing.T) { b.at(t).width(s, width) })
	}
	t.Run("colours", func(t *testing.T) { b.at(t).colours() })
	t.Run("stillness", func(t *testing.T) { b.at(t).stillness(s) })
	t.Run("print", func(t *testing.T) { b.at(t).print(s) })
}

// at has a part of the test as the one that complains.
func (b *browser) at(t *testing.T) *browser {
	return &browser{t: t, ctx: b.ctx, file: b.file}
}

// is checks what an expression of JavaScript comes to.
func is[T comparable](b *browser, expression string, want T) {
	b.t.Helper()
	if got := eval[T](b, expression); got != want {
		b.t.Errorf("%s is %v, want %v", expression, got, want)
	}
}

func number(selector string) string {
	return fmt.Sprintf("document.querySelectorAll(%q).length", selector)
}

func text(selector string) string {
	return fmt.Sprintf("document.querySelector(%q).innerText.replace(/\\s+/g, ' ').trim()", selector)
}

func (b *browser) says(selector string, words ...string) {
	b.t.Helper()
	got := eval[string](b, text(selector))
	for _, w := range words {
		if !strings.Contains(got, w) {
			b.t.Errorf("%s says %q, and not %q", selector, got, w)
		}
	}
}

// clicks: a path that is clicked shows its hops, drawn and described, each where it was seen.
func (b *browser) clicks(s Subject) {
	_, p, li := find(b.t, s, checks.PodToPodCrossNode, "echo-cp", "echo-w1")
	is(b, number(".over path, .top circle"), 0)
	b.click(li + " .row")
	is(b, fmt.Sprintf("document.querySelector('%s .row').getAttribute('aria-expanded')", li), "true")
	hops := p.Evidence.Hops
	is(b, number(li+" .hop"), len(hops))
	is(b, number(".wide .top circle"), len(hops))
	is(b, number(".wide .end"), 2)
	is(b, number(".wide .over path.request")+" > 5", true)
	is(b, number(".wide .over path.reply")+" > 2", true)
	for i, h := range hops {
		where := h.Machine
		if h.Pod != "" {
			where = h.Pod
		}
		b.says(fmt.Sprintf("%s .hop[data-step='%d']", li, i+1), where+" "+h.Interface+" "+h.Direction, h.Source+" → "+h.Destination, fmt.Sprintf("%d µs", h.Micros))
	}
	b.says(".caption", "echo-cp → echo-w1", "All hops are drawn")
	b.click(li + " .hop[data-step='5']")
	b.says(".caption", "cp eth0 out", "TCP SYN 10.244.0.3:40112 → 10.244.1.3:8080 in VXLAN 1", "by CNI")
	b.says(".steps .at", "5 / 16")
	is(b, number(".wide .top circle.now"), 1)
	is(b, number(".wide .top circle.later"), len(hops)-5)
	is(b, fmt.Sprintf("document.querySelector('%s [aria-current]').dataset.step", li), "5")
	b.click(".steps .next")
	b.says(".caption", "w1 eth0 in")
	// The hop is drawn at the NIC that it was seen at.
	is(b, `(() => { const a = document.querySelector(".wide .top .now"), b = document.querySelector('.wide .port[data-machine="w1"][data-nic="eth0"]');
		return Math.hypot(a.getAttribute("cx") - b.getAttribute("cx"), a.getAttribute("cy") - b.getAttribute("cy")) < 2 })()`, true)
	b.shot("1400-hop")
	b.click(li + " .row")
	is(b, number(".over path, .top circle, .end, .open"), 0)
}

func (b *browser) lost(s Subject) {
	_, p, li := find(b.t, s, checks.PodToPodCrossNode, "echo-w1", "echo-w2")
	b.says(li+" .why", p.Reason, "Last hop seen w1 eth0 out", p.Command)
	is(b, "document.querySelector('.path') === document.querySelector('.failing .path')", true) // failures first
	b.click(li + " .row")
	b.says(".caption", p.Evidence.Lost)
	b.click(li + " .copy") // into the clipboard, or where that is not allowed at least into the selection
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](fmt.Sprintf(`["copied", "selected"].includes(document.querySelector("%s .copy").textContent)`, li))); err != nil {
		b.t.Errorf("the command is not copied: %v", err)
	}
	is(b, number(".wide .gone"), 1)
	b.press(kb.Escape)
}

// hidden: what no capture saw is drawn differently and described so.
func (b *browser) hidden(s Subject) {
	_, p, li := find(b.t, s, checks.PodToClusterIP, "echo-cp", "echo")
	b.click(li + " .row")
	is(b, number(".wide .over path.unseen"), 2) // the veths of both Pods
	is(b, number(li+" li .gap"), 2)
	b.says(li+" .more", p.Evidence.Hidden[0])
	b.press(kb.Escape)
}

func (b *browser) endsOnly(s Subject) {
	_, _, li := find(b.t, s, checks.PodToPodSameNode, "policy-default-deny", "echo-w1")
	b.click(li + " .row")
	is(b, number(".wide .over path"), 1)
	is(b, number(".wide .over path.ends"), 1)
	is(b, number(".wide .end"), 2)
	is(b, "document.querySelector('.steps').hidden", true)
	b.says(".caption", "Only its source and destination are drawn")
	b.press(kb.Escape)
}

// measured: a route that is clicked, or chosen by keyboard from the tables, is drawn with its
// figure: along the hops of another path, along a network, or from source to destination.
func (b *browser) measured(s Subject) {
	_, p, li := find(b.t, s, "throughput-pod-cross-node", "echo-cp", "echo-w1")
	_, like, _ := find(b.t, s, checks.PodToPodCrossNode, "echo-cp", "echo-w1")
	b.click(li + " .row")
	is(b, number(li+" .hop"), len(like.Evidence.Hops))
	is(b, number(".wide .top circle"), len(like.Evidence.Hops))
	for _, drawing := range []string{".wide", ".narrow"} {
		is(b, fmt.Sprintf("document.querySelector('%s .label text').textContent", drawing), strings.Join(label(p), " "))
	}
	b.says(".caption", "echo-cp → echo-w1", "tcp ×1, client sends: "+report.FigureText(*p.Throughput), "range of 5 measurements", "hops of pod-to-pod-cross-node")
	b.says(li+" .more", report.FigureText(*p.Throughput), p.Command)
	// The figure is on its line, wholly in the drawing, and its box holds its texts.
	is(b, `(() => { const g = document.querySelector(".wide .label"), f = document.querySelector(".wide svg").getBoundingClientRect(), r = g.querySelector("rect").getBoundingClientRect();
		return r.left >= f.left && r.right <= f.right && r.top >= f.top && r.bottom <= f.bottom &&
			[...g.querySelectorAll("text")].every((e) => { const t = e.getBoundingClientRect(); return t.left >= r.left && t.right <= r.right && t.top >= r.top - 1 && t.bottom <= r.bottom + 1 }) })()`, true)
	b.shot("1400-measured")
	b.do(chromedp.EmulateViewport(400, 900))
	b.click(li + " .row")
	b.click(li + " .row") // the figure scrolls into view
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](`(() => { const r = document.querySelector(".narrow .label rect").getBoundingClientRect(), f = document.querySelector(".canvas").getBoundingClientRect();
		return r.left >= f.left && r.right <= f.right && r.top >= f.top && r.bottom <= f.bottom })()`)); err != nil {
		b.t.Errorf("the figure is not in view: %v", err)
	}
	b.shot("400-measured")
	b.do(chromedp.EmulateViewport(900, 900))
	b.shot("900-measured")
	b.scheme("dark")
	b.shot("900-measured-dark")
	b.scheme("light")
	b.do(chromedp.EmulateViewport(1400, 900))
	b.press(kb.ArrowRight, kb.ArrowRight)
	b.says(".caption", "cp vethd41c3a9e in")
	is(b, number(".wide .label"), 1)
	b.press(kb.Escape)
	is(b, number(".label"), 0)

	_, p, li = find(b.t, s, "latency-node-to-node", "w1", "w2")
	b.script(fmt.Sprintf("document.querySelector('#latency').closest('section').querySelector(\"a[href='%s']\").focus()", li))
	b.press(kb.Enter)
	is(b, "document.querySelector('.open').id", li[1:])
	is(b, fmt.Sprintf("document.activeElement === document.querySelector('%s .row')", li), true)
	is(b, `document.querySelector(".wide .label .median").textContent`, label(p)[0])
	b.says(".caption", "one connection: p50 "+inMicros(p.Latency.P50), "along the network between them")
	// From NIC to NIC.
	is(b, `(() => { const at = (m) => { const e = document.querySelector('.wide .port[data-machine="' + m + '"][data-nic="eth0"]'); return [e.getAttribute("cx"), e.getAttribute("cy")].join(" ") },
		d = document.querySelector(".wide .over path").getAttribute("d"); return d.startsWith("M" + at("w1")) && d.endsWith(at("w2")) })()`, true)
	b.press(kb.ArrowDown, kb.Enter)
	is(b, `document.querySelector(".wide .label .median").textContent`, "p50 122 µs")
	b.shot("1400-measured-nodes")
	b.press(kb.Escape)

	_, p, li = find(b.t, s, "throughput-loadbalancer", "client", "echo-lb")
	b.click(li + " .row")
	is(b, number(".wide .over path.ends"), 1)
	is(b, number(".wide .end"), 2) // the client, and the Pod that answered
	is(b, `document.querySelector(".wide .label .median").textContent`, label(p)[0])
	b.shot("1400-measured-ends")
	b.save("measured.pdf", b.pdf())
	b.press(kb.Escape)
}

// links: a cell of a matrix, and the page's address, lead to a path.
func (b *browser) links(s Subject) {
	_, _, li := find(b.t, s, checks.NodeToPod, "w1", "echo-w2")
	b.click(fmt.Sprintf(".matrix a[href='%s']", li))
	is(b, "document.querySelector('.open').id", li[1:])
	is(b, fmt.Sprintf("document.activeElement === document.querySelector('%s .row')", li), true)
	is(b, fmt.Sprintf("document.querySelector('%s').getBoundingClientRect().top >= 0 && document.querySelector('%[1]s').getBoundingClientRect().top < innerHeight", li), true)
	b.press(kb.Escape)
	b.script(fmt.Sprintf(`document.querySelector(".matrix a[href='%s']").focus()`, li))
	b.press(kb.Enter)
	is(b, number(li+".open"), 1)
	_, _, other := find(b.t, s, checks.PodToOutside, "echo-cp", "internet")
	b.do(chromedp.Navigate("file://"+b.file+other), chromedp.WaitReady(chromedp.CSS(other+".open")))
	b.do(chromedp.Navigate("file://"+b.file), chromedp.WaitReady(chromedp.CSS("html.js")))
}

// finds: paths by their text and by their outcome.
func (b *browser) finds(s Subject) {
	shown := number(".path:not([hidden])")
	all := eval[int](b, shown)
	b.do(chromedp.SendKeys(chromedp.CSS(".find input"), "echo-lb client"))
	// In the heading of a group, or in anything that a path shows, its reason included.
	named := eval[int](b, `[...document.querySelectorAll(".path")].filter((li) => ["echo-lb", "client"].every((w) =>
		((li.closest(".group")?.firstElementChild.textContent ?? "") + " " + li.textContent).toLowerCase().includes(w))).length`)
	is(b, shown, named)
	if named < 8 || named >= all {
		b.t.Errorf("%d of %d paths are named so", named, all)
	}
	b.do(chromedp.SendKeys(chromedp.CSS(".find input"), "nonsense"))
	is(b, shown, 0)
	is(b, "document.querySelector('.none').hidden", false)
	is(b, number(".group:not([hidden])"), 0)
	b.script(`const f = document.querySelector(".find input"); f.value = ""; f.dispatchEvent(new Event("input"))`)
	is(b, shown, all)
	b.click(".chip-button.pass")
	is(b, shown, s.Report.Summary.Fail+s.Report.Summary.Skip)
	b.click(".chip-button.pass")
	is(b, shown, all)
}

// keyboard: everything works without a mouse, and the focus is always visible.
func (b *browser) keyboard(s Subject) {
	b.do(chromedp.Navigate("file://"+b.file), chromedp.WaitReady(chromedp.CSS("html.js"))) // Tab begins at the top
	focused := func(want string) {
		b.t.Helper()
		is(b, fmt.Sprintf("document.activeElement.matches(%q)", want), true)
		is(b, "parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2 && getComputedStyle(document.activeElement).outlineStyle !== 'none'", true)
	}
	for _, want := range []string{".jump", ".canvas", ".find input", ".chip-button.pass", ".chip-button.fail", ".chip-button.skip"} {
		b.press(kb.Tab)
		focused(want)
	}
	b.press(kb.Tab)
	focused(".failing li:nth-child(1) .row")
	b.press(kb.ArrowDown)
	focused(".failing li:nth-child(2) .row")
	b.press(kb.End)
	focused(".path .row")
	b.press(kb.Home, kb.ArrowDown)
	focused(".failing li:nth-child(2) .row")

	_, p, li := find(b.t, s, checks.PodToPodCrossNode, "echo-w1", "echo-w2")
	b.press(kb.Enter)
	is(b, "document.querySelector('.open').id", li[1:])
	b.press(kb.ArrowRight, kb.ArrowRight)
	b.says(".caption", "w1 cni0 in")
	b.press(kb.ArrowLeft)
	b.says(".caption", "echo-w1 eth0 out")
	b.press(kb.Tab) // the command's button
	focused(".copy")
	b.press(kb.Tab)
	focused(".hop[data-step='1']")
	b.press(kb.ArrowDown, kb.ArrowDown, kb.ArrowDown, kb.ArrowDown, kb.ArrowDown)
	focused(fmt.Sprintf(".hop[data-step='%d'][aria-current='step']", len(p.Evidence.Hops)))
	b.press(kb.Escape)
	focused(li + " .row")
	is(b, number(".open"), 0)
}

// width: at some width nothing is wider than the window, the drawing fits it, and it hides
// neither a path nor its hop.
func (b *browser) width(s Subject, width int64) {
	_, _, li := find(b.t, s, checks.PodToPodCrossNode, "echo-cp", "echo-w1")
	b.do(chromedp.EmulateViewport(width, 900))
	b.script(`document.activeElement.blur(); location.hash = ""; scrollTo(0, 0)`)
	b.shot(fmt.Sprintf("%d", width))
	b.script(fmt.Sprintf(`location.hash = %q`, li))
	b.do(chromedp.WaitReady(chromedp.CSS(li + ".open")))
	is(b, "document.documentElement.scrollWidth <= innerWidth", true)
	is(b, `[...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, .canvas, .jump, .sr, script") && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.className).join()`, "")
	is(b, "getComputedStyle(document.querySelector('.narrow')).display !== 'none'", width == 400)
	is(b, "getComputedStyle(document.querySelector('.wide')).display !== 'none'", width != 400)
	stage := "document.querySelector('.stage').getBoundingClientRect()"
	row := fmt.Sprintf("document.querySelector('%s .row').getBoundingClientRect()", li)
	is(b, fmt.Sprintf("(%s.top >= %s.bottom || %[1]s.left >= %[2]s.right) && %[1]s.bottom <= innerHeight", row, stage), true)
	for range 6 {
		b.press(kb.ArrowRight)
	}
	b.says(".caption", "w1 eth0 in")
	// The drawing has scrolled to the hop, smoothly.
	seen := `(() => { const p = [...document.querySelectorAll(".top .now")].find((e) => e.getClientRects().length).getBoundingClientRect(), f = document.querySelector(".canvas").getBoundingClientRect();
		return p.left >= f.left && p.right <= f.right && p.top >= f.top && p.bottom <= f.bottom })()`
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](seen)); err != nil {
		b.t.Errorf("the hop is not in view: %v", err)
	}
	is(b, stage+".height < innerHeight * 0.85", true)
	b.shot(fmt.Sprintf("%d-hop", width))
	b.press(kb.Escape)
	is(b, "document.documentElement.scrollWidth <= innerWidth", true)
}

// colours: light and dark differ, and the texts of both can be read (WCAG 2.2, 1.4.3).
func (b *browser) colours() {
	grounds := map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		ground := eval[string](b, "getComputedStyle(document.body).backgroundColor")
		grounds[ground] = true
		for _, x := range [][2]string{{".paths", "h2"}, {".paths", ".brief"}, {".paths", ".way"}, {".failing .fail", ".reason"}, {".failing .fail", ".row .id"},
			{".failing .fail", ".mark"}, {"body", "header .what"}, {"body", ".sum"}, {".stage", ".hint"}, {".figures", ".how"}, {".matrix td.pass", "a"}, {".hop.request .n", ""}, {".hop.reply .n", ""}} {
			of := func(selector, property string) [3]float64 {
				var c [3]float64
				text := eval[string](b, fmt.Sprintf(`(() => { for (let e = document.querySelector(%q); e; e = e.parentElement) { const c = getComputedStyle(e).%s; if (c !== "rgba(0, 0, 0, 0)") return c } })()`, selector, property))
				if _, err := fmt.Sscanf(text, "rgb(%f, %f, %f)", &c[0], &c[1], &c[2]); err != nil {
					b.t.Fatalf("%s of %s is %q", property, selector, text)
				}
				return c
			}
			back, front := of(x[0], "backgroundColor"), of(strings.TrimSpace(x[0]+" "+x[1]), "color")
			if got := contrast(back, front); got < 4.5 {
				b.t.Errorf("%s: %s on %s has a contrast of %.1f", scheme, x[1], x[0], got)
			}
		}
		b.shot(scheme)
	}
	if len(grounds) != 2 {
		b.t.Errorf("light and dark have one ground: %v", grounds)
	}
	b.scheme("light")
}

// contrast is the contrast ratio of two sRGB colours as WCAG defines it.
func contrast(a, b [3]float64) float64 {
	luminance := func(c [3]float64) float64 {
		sum := 0.0
		for i, share := range []float64{0.2126, 0.7152, 0.0722} {
			v := c[i] / 255
			if v <= 0.04045 {
				v /= 12.92
			} else {
				v = math.Pow((v+0.055)/1.055, 2.4)
			}
			sum += share * v
		}
		return sum
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// stillness: nothing moves with prefers-reduced-motion.
func (b *browser) stillness(s Subject) {
	_, _, li := find(b.t, s, checks.PodToPodCrossNode, "echo-cp", "echo-w1")
	moving := fmt.Sprintf("(document.querySelector('%s .hop[data-step=\"6\"]').click(), document.querySelectorAll('.top .packet').length)", li)
	b.media(emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}})
	is(b, moving, 0)
	b.media(emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "no-preference"}}})
	is(b, moving, 1)
	b.press(kb.Escape)
}

// print: on paper every failure is shown in full, and interactive elements are left out.
func (b *browser) print(s Subject) {
	b.do(chromedp.EmulateViewport(700, 900))
	b.media(emulation.SetEmulatedMediaParams{Media: "print"})
	for selector, want := range map[string]string{".tools": "none", ".copy": "none", ".hint": "none", ".failing .more": "grid", ".wide": "block", ".narrow": "none", ".figures tr": "table-row"} {
		is(b, fmt.Sprintf("getComputedStyle(document.querySelector(%q)).display", selector), want)
	}
	is(b, "getComputedStyle(document.querySelector('.stage')).position", "static")
	is(b, "document.documentElement.scrollWidth <= innerWidth", true)
	b.media(emulation.SetEmulatedMediaParams{Media: ""})
	pdf := b.pdf()
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) || len(pdf) < 50_000 {
		b.t.Errorf("%d bytes of PDF", len(pdf))
	}
	b.save("print.pdf", pdf)
}

// TestLookWithoutEvidence: the page explains how to get the hops, and a reload opens the same
// path.
func TestLookWithoutEvidence(t *testing.T) {
	s := subject(t, "faulty")
	b := open(t, s, 1400)
	_, p, li := find(t, s, checks.PodToClusterIP, "echo-w1", "echo")
	b.click(li + " .row")
	b.says(li+" .why", p.Reason, p.Command)
	b.says(li+" .more", "--evidence", "every ready endpoint answers")
	is(b, number(li+" .hop"), 0)
	is(b, number(".wide .over path.ends"), 1) // to echo-cp; echo-w1 answered itself
	is(b, number("#throughput, #latency"), 0)
}
