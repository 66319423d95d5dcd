package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the mutants are made of changes with the product: here each is made and built, so that none rots unseen.
func TestEveryMutantCanBeMadeAndBuilt(t *testing.T) {
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, files := range together(t, root) {
		at, err := overlay(root, t.TempDir(), files)
		if err != nil {
			t.Fatal(err)
		}
		build := exec.CommandContext(t.Context(), "go", append([]string{"build", "-overlay", at}, folders(files)...)...)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Errorf("%v: %v: %s", slices.Sorted(maps.Keys(files)), err, out)
		}
	}
}

// folders are those of the files, as the packages that have to build.
func folders(files map[string]string) (all []string) {
	for file := range files {
		folder := "./" + strings.TrimSuffix(filepath.Dir(file), "/lua")
		if !slices.Contains(all, folder) {
			all = append(all, folder)
		}
	}
	return all
}

// together puts mutants of different files into one build: one by one they would take minutes.
func together(t *testing.T, root string) (builds []map[string]string) {
	t.Helper()
	for _, m := range mutants {
		files, err := m.apply(root)
		if err != nil {
			t.Error(err)
			continue
		}
		at := slices.IndexFunc(builds, func(b map[string]string) bool {
			for file := range files {
				if _, taken := b[file]; taken {
					return false
				}
			}
			return true
		})
		if at < 0 {
			at, builds = len(builds), append(builds, map[string]string{})
		}
		maps.Copy(builds[at], files)
	}
	return builds
}

func TestEveryMutantNamesWhatCatchesIt(t *testing.T) {
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	scenarios, err := os.ReadFile(filepath.Join(root, "deploy/faults/scenarios.go"))
	if err != nil {
		t.Fatal(err)
	}
	names, fast := map[string]bool{}, 0
	for _, m := range mutants {
		if names[m.name] || m.name == "" || m.breaks == "" || len(m.edits) == 0 {
			t.Errorf("%+v: its name is taken, or something is missing", m)
		}
		names[m.name] = true
		if m.fast {
			fast++
		}
		if m.caught.scenario != "" {
			if !strings.Contains(string(scenarios), `name: "`+m.caught.scenario+`"`) {
				t.Errorf("%s: there is no %s", m.name, m.caught)
			}
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, m.caught.folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(text), "func "+m.caught.test+"(t *testing.T)")
		}) {
			t.Errorf("%s: there is no %s", m.name, m.caught)
		}
	}
	if len(mutants) < 15 || fast != 3 {
		t.Errorf("%d mutants, %d of them fast: at least 15, 3 of them fast", len(mutants), fast)
	}
}

func TestATextThatIsNotThereOnceIsNoMutant(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("x\ny\ny\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for claim, c := range map[string]struct {
		old  string
		want bool
	}{
		"a text that stands once is replaced":         {"x\n", true},
		"a text that stands twice is a fault":         {"y\n", false},
		"a text that isn't there any more is one too": {"z\n", false},
	} {
		t.Run(claim, func(t *testing.T) {
			_, err := mutant{edits: []edit{{"a.go", c.old, ""}}}.apply(dir)
			if (err == nil) != c.want {
				t.Error(err)
			}
		})
	}
}
