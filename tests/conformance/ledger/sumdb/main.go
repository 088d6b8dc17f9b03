// Verifies a ledger's directory as it lies with Go's own transparency-log packages: the signed note with the vkey
// file, every tile against the root, and the inclusion of every entry. Prints the size, or ends with an error.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// number writes a tile's number as C2SP tlog-tiles has it: x001/x234/067.
func number(n int64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	return path
}

type tiles struct{ dir string }

func (t tiles) Height() int { return height }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := filepath.Join(t.dir, "tile", strconv.Itoa(tile.L), number(tile.N))
		if tile.W < 1<<height {
			path += fmt.Sprintf(".p/%d", tile.W)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// entries reads every entry bundle up to a size.
func entries(dir string, size int64) ([][]byte, error) {
	var all [][]byte
	for n := int64(0); n<<height < size; n++ {
		path := filepath.Join(dir, "tile", "entries", number(n))
		if width := size - n<<height; width < 1<<height {
			path += fmt.Sprintf(".p/%d", width)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for len(data) > 0 {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("%s ends inside an entry", path)
			}
			length := int(binary.BigEndian.Uint16(data))
			all = append(all, data[2:2+length])
			data = data[2+length:]
		}
	}
	return all, nil
}

func verify(dir string) (int64, error) {
	vkey, err := os.ReadFile(filepath.Join(dir, "vkey"))
	if err != nil {
		return 0, err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(vkey)))
	if err != nil {
		return 0, err
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return 0, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return 0, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return 0, fmt.Errorf("the checkpoint is not of three lines under its own name")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil {
		return 0, err
	}
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	reader := tlog.TileHashReader(tree, tiles{dir}) // proves what it reads against the root
	all, err := entries(dir, size)
	if err != nil {
		return 0, err
	}
	if int64(len(all)) != size {
		return 0, fmt.Errorf("%d entries, the checkpoint says %d", len(all), size)
	}
	for index, entry := range all {
		proof, err := tlog.ProveRecord(size, int64(index), reader)
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", index, err)
		}
		if err := tlog.CheckRecord(proof, size, tree.Hash, int64(index), tlog.RecordHash(entry)); err != nil {
			return 0, fmt.Errorf("entry %d: %w", index, err)
		}
	}
	return size, nil
}

func main() {
	log.SetFlags(0)
	size, err := verify(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(size)
}
