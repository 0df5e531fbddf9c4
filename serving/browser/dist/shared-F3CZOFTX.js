var r=class extends Error{constructor(s,e){super(e),this.name="ShelfError",this.code=s}};export{r as a};
