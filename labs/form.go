package labs

// Form returns the problems of a lab file's form: its syntax, names of fields, types of values. It
// is for a file of which some values are not known yet: missing values, and values that contradict
// each other, are not reported.
func Form(data []byte, known Known) Problems {
	lab := Lab{Sections: known.sections()}
	_, problems := decode(data, Kind, &lab)
	return problems.sorted()
}
