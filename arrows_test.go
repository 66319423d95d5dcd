package cartstream_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "cartstream"

// arrows names every folder and the folders of ours that its own code may import, tests apart. A folder that
// isn't here fails the test: whoever adds one says where it stands. A folder ending in /... stands for
// itself and all below it.
var arrows = map[string][]string{
	".": {},

	"schemas":          {"schemas/..."},
	"schemas/bsoncart": {"schemas/..."},
	"schemas/env":      {"schemas/..."},
	"schemas/link":     {"schemas/..."},
	"schemas/optout":   {"schemas/..."},
	"schemas/token":    {"schemas/..."},
	"schemas/traces":   {"schemas/..."},

	"api":          {"api/book", "api/cart", "api/live", "api/recovery", "api/relay", "api/rest", "schemas/..."},
	"api/book":     {"schemas/..."},
	"api/cart":     {"schemas/..."},
	"api/live":     {"api/cart", "schemas/..."},
	"api/recovery": {"api/cart", "schemas/..."},
	"api/relay":    {"schemas/..."},
	"api/rest":     {"api/book", "api/cart", "api/live", "schemas/..."},
	"api/web":      {},

	// A consumer imports the runner, schemas and, where it reads or changes carts, cart. Only main knows all.
	"consumers":                {"api/cart", "consumers/...", "schemas/..."},
	"consumers/runner":         {},
	"consumers/admin":          {"api/cart", "schemas/..."},
	"consumers/booksync":       {"api/cart", "consumers/runner", "schemas/..."},
	"consumers/deadletter":     {"api/cart", "consumers/admin", "consumers/runner", "schemas/..."},
	"consumers/deadletter/dlq": {"consumers/deadletter", "schemas/..."},
	"consumers/parking":        {"consumers/runner"},
	"consumers/persist":        {"api/cart", "consumers/runner", "schemas/..."},
	"consumers/push":           {"api/cart", "consumers/runner", "schemas/..."},
	"consumers/reconcile":      {"api/cart", "consumers/admin", "consumers/runner", "schemas/..."},
	"consumers/reminder":       {"api/cart", "consumers/runner", "schemas/..."},
	"consumers/state":          {"api/cart", "consumers/runner", "schemas/..."},
	"consumers/timer":          {},

	// What runs and tests the product knows it from outside: by its schemas, and its binaries.
	"deploy/...": {"deploy/...", "schemas/..."},
}

// ginImporters: api/rest alone in the product, and the bare handler that benchmarks measure it beside, which has to be of
// the same Gin.
var ginImporters = []string{"api/rest", "deploy/bench/baseline"}

// listed is what go list says of a package, as far as it matters here.
type listed struct {
	ImportPath   string
	Imports      []string
	Deps         []string
	TestImports  []string
	XTestImports []string
}

func (l listed) folder() string {
	if l.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(l.ImportPath, module+"/")
}

func TestImportArrows(t *testing.T) {
	packages := list(t)
	if len(packages) < 2 {
		t.Fatalf("go list knows %d packages", len(packages))
	}
	for _, p := range packages {
		t.Run(p.folder(), func(t *testing.T) {
			for _, fault := range faults(p) {
				t.Error(fault)
			}
		})
	}
}

// The test above is worth something only while it can fail.
func TestImportArrowsAreHeld(t *testing.T) {
	gin := "github.com/gin-gonic/gin"
	for claim, c := range map[string]struct {
		p    listed
		want int
	}{
		"a folder that nobody named is a fault":                  {listed{ImportPath: module + "/api/helpers"}, 1},
		"another top-level folder is a fault":                    {listed{ImportPath: module + "/internal/x"}, 1},
		"cart may import schemas":                                {listed{ImportPath: module + "/api/cart", Imports: []string{module + "/schemas"}}, 0},
		"cart may not import book":                               {listed{ImportPath: module + "/api/cart", Imports: []string{module + "/api/book"}}, 1},
		"schemas may import nothing of ours":                     {listed{ImportPath: module + "/schemas", Imports: []string{module + "/api/cart"}}, 1},
		"api may not import consumers, nor get them from others": {listed{ImportPath: module + "/api", Imports: []string{module + "/consumers/runner"}, Deps: []string{module + "/consumers/runner"}}, 2},
		"not even api's tests import consumers":                  {listed{ImportPath: module + "/api/rest", XTestImports: []string{module + "/consumers/push"}}, 1},
		"a consumer may not import another":                      {listed{ImportPath: module + "/consumers/push", Imports: []string{module + "/consumers/persist"}}, 1},
		"consumers may not pull in Gin through others":           {listed{ImportPath: module + "/consumers", Deps: []string{gin}}, 1},
		"rest may import Gin":                                    {listed{ImportPath: module + "/api/rest", Imports: []string{gin}, Deps: []string{gin}}, 0},
		"the benchmark's bare handler may import Gin":            {listed{ImportPath: module + "/deploy/bench/baseline", Imports: []string{gin}, Deps: []string{gin}}, 0},
		"the benchmark itself may not":                           {listed{ImportPath: module + "/deploy/bench", Imports: []string{gin}, Deps: []string{gin}}, 1},
		"no other package may import Gin":                        {listed{ImportPath: module + "/api/live", Imports: []string{gin + "/binding"}, Deps: []string{gin}}, 1},
		"tests may use the engines' starter":                     {listed{ImportPath: module + "/api/cart", TestImports: []string{module + "/deploy/enginetest"}}, 0},
		"what is deployed may not import the engines' starter":   {listed{ImportPath: module + "/api/cart", Imports: []string{module + "/deploy/enginetest"}}, 1},
	} {
		t.Run(claim, func(t *testing.T) {
			if got := faults(c.p); len(got) != c.want {
				t.Errorf("got %q, want %d faults", got, c.want)
			}
		})
	}
}

// faults says in one sentence each what p imports though it may not.
func faults(p listed) []string {
	folder := p.folder()
	allowed, known := allowedFor(folder)
	if !known {
		return []string{folder + " is in no row of the table of import arrows: say where it stands"}
	}
	var out []string
	for _, imported := range p.Imports {
		if ours, ok := strings.CutPrefix(imported, module+"/"); ok && !matches(allowed, ours) {
			out = append(out, fmt.Sprintf("%s may not import %s", folder, ours))
		}
		if isGin(imported) && !slices.Contains(ginImporters, folder) {
			out = append(out, folder+" may not import Gin: only api/rest does")
		}
	}
	for _, dep := range slices.Concat(p.Deps, p.TestImports, p.XTestImports) {
		if below(folder, "api") && below(strings.TrimPrefix(dep, module+"/"), "consumers") {
			out = append(out, fmt.Sprintf("%s pulls in %s: api knows nothing of its consumers", folder, dep))
		}
	}
	for _, dep := range p.Deps {
		if below(folder, "consumers") && isGin(dep) {
			out = append(out, folder+" pulls in "+dep)
		}
	}
	return out
}

func allowedFor(folder string) (allowed []string, known bool) {
	if allowed, known = arrows[folder]; known {
		return allowed, true
	}
	for row := range maps.Keys(arrows) {
		if matches([]string{row}, folder) {
			return arrows[row], true
		}
	}
	return nil, false
}

// matches says whether folder is one of patterns, or below one that ends in /...
func matches(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		root, all := strings.CutSuffix(pattern, "/...")
		return folder == pattern || all && below(folder, root)
	})
}

func below(folder, root string) bool { return folder == root || strings.HasPrefix(folder, root+"/") }

func isGin(imported string) bool { return below(imported, path.Join("github.com", "gin-gonic", "gin")) }

// list asks go list for the packages of this module, those of every build tag of ours too.
func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "engines", "-json=ImportPath,Imports,Deps,TestImports,XTestImports", "./...")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, errs.String())
	}
	var packages []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
